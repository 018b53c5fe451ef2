from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import (
    AnswerRules,
    Policy,
    PolicyError,
    Rule,
    clean,
    cut_examples,
    keep_sentences,
    load_policy,
    strip_end_markers,
    strip_thinking,
)

STEADY = settings(derandomize=True, deadline=None, max_examples=150)
SAMPLE = Path(__file__).parents[2] / "policies" / "question-types.toml"
MARKERS = ("例如", "比如", "举例")
KEEP_ALL = AnswerRules()
COMPLETIONS = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<|im_end|>", "</s>", " ", "\n", "。", ".", "!", "```", "例如"]
        + ["比如", "，", "1", "答案", "x", "<", "\u3000", "\x1f", "\r\n"]
    )
    | st.text(max_size=5)
).map("".join)
RULES = st.builds(AnswerRules, max_sentences=st.integers(0, 3), cut_examples=st.booleans())


# -- thinking


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("no thinking at all", "no thinking at all"),
        ("<think>\nhm\n</think>\n\nanswer", "answer"),
        ("before <think>hm</think>after", "before after"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("<think></think>answer", "answer"),
        ("answer<think>never closed", "answer"),
        ("opened by the template</think>answer", "answer"),
        ("a</think>b</think>c", "c"),
        ("a</think>b<think>c</think>d<think>e", "bd"),
        ("<think>a<think>b</think>answer", "answer"),
        ("<think>a</think>b</think>answer", "answer"),
        ("1 < 2 </think >", "1 < 2 </think >"),
    ],
)
def test_thinking_is_stripped(completion: str, answer: str) -> None:
    assert clean(completion, KEEP_ALL) == answer


@pytest.mark.parametrize(
    "completion",
    [
        "<think>all of it</think>",
        "<think>all of it",
        "all of it</think>",
        "<think>\nall of it\n</think>\n<|im_end|>\n",
        "<think>all </think><think>of it",
    ],
)
def test_where_only_thinking_is_left_it_is_the_answer(completion: str) -> None:
    assert clean(completion, KEEP_ALL) == "all of it"


# -- end markers and space


@pytest.mark.parametrize(
    "tail",
    [
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "</s>",
        "<end_of_turn>",
        "<｜end▁of▁sentence｜>",
        " \n<|im_end|>\n<|endoftext|> \t",
        "</s></s></s>",
        "\u3000\xa0\r\n",
    ],
)
def test_end_markers_and_surrounding_space_are_removed(tail: str) -> None:
    assert clean(" \n答案 is here" + tail, KEEP_ALL) == "答案 is here"
    assert clean(tail, KEEP_ALL) == ""


def test_a_marker_inside_the_answer_stays() -> None:
    answer = "Qwen ends a turn with <|im_end|>, Llama 2 with </s>."
    assert strip_end_markers(answer) == answer


@pytest.mark.parametrize("noise", [" ", "\n", "<|im_end|>", "<think>", "</think>", ". ", "1. "])
def test_a_degenerate_completion_is_cleaned_in_time(noise: str) -> None:
    """8,000 spaces in a row took 6 s, in which nothing else could be answered."""
    rules = AnswerRules(max_sentences=10**9, cut_examples=True)
    assert clean("a" + noise * 100_000 + "b", rules) != ""


# -- examples


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("共享内存是片上存储。例如，矩阵乘法。", "共享内存是片上存储。"),
        ("用于归约，比如求和。", "用于归约。"),
        ("用于归约（例如求和）。", "用于归约。"),
        ("三种方法：\n\n举例：甲", "三种方法。"),
        ("甲比如乙例如丙", "甲。"),
        ("真的吗？例如这样", "真的吗？"),
        ("没有任何示范。", "没有任何示范。"),
        ("例如矩阵乘法。", "例如矩阵乘法。"),
        ("：例如矩阵乘法。", "：例如矩阵乘法。"),
    ],
)
def test_examples_are_cut_unless_nothing_would_be_left(text: str, answer: str) -> None:
    assert cut_examples(text, MARKERS) == answer


def test_example_markers_can_be_set() -> None:
    rules = AnswerRules(cut_examples=True, example_markers=("e.g.",))
    assert clean("Use a stream, e.g. one per copy. 例如", rules) == "Use a stream。"
    assert clean("text", AnswerRules(cut_examples=True, example_markers=("",))) == "text"


# -- sentences


@pytest.mark.parametrize(
    ("text", "limit", "answer"),
    [
        ("一。二。三。", 2, "一。二。"),
        ("一！二？三。", 2, "一！二？"),
        ("One. Two! Three?", 2, "One. Two!"),
        ("一。Two. 三！", 2, "一。Two."),
        ("Pi is 3.14 here. Two.", 1, "Pi is 3.14 here."),
        ("真的吗？！是的。", 1, "真的吗？！"),
        ("他说“好。”然后走了。", 1, "他说“好。”"),
        ("(It is.) Then more.", 1, "(It is.) Then more."),
        ("一行\n二行\n三行", 2, "一行\n二行"),
        ("第一句。\n第二句。\n\n第三句。", 2, "第一句。\n第二句。"),
        ("\n\n第一句。第二句。", 1, "\n\n第一句。"),
        ("1. 合并访存\n2. 减少分化\n3. 对齐", 2, "1. 合并访存\n2. 减少分化"),
        ("only one, without an end", 1, "only one, without an end"),
        ("一。二。", 5, "一。二。"),
        ("", 1, ""),
        ("一。", 1, "一。"),
    ],
)
def test_the_first_sentences_are_kept(text: str, limit: int, answer: str) -> None:
    assert keep_sentences(text, limit) == answer


def test_a_code_block_that_has_begun_is_kept_to_its_end() -> None:
    code = "```cuda\nint a = 1; // one. two.\n\nreturn!\n```"
    text = f"先看代码：\n{code}\n再看说明。最后。"
    assert keep_sentences(text, 1) == "先看代码："
    assert keep_sentences(text, 2) == f"先看代码：\n{code}"
    assert keep_sentences(text, 3) == f"先看代码：\n{code}\n再看说明。"


def test_a_code_block_that_never_ends_is_kept_whole() -> None:
    text = "代码：```\na.\nb.\nc.\n"
    assert keep_sentences(text, 1) == text


# -- all of it


def test_cuts_come_after_thinking_and_markers() -> None:
    rules = AnswerRules(max_sentences=2, cut_examples=True)
    completion = "<think>例如。一。二。</think>\n甲。乙。丙，例如丁。<|im_end|>"
    assert clean(completion, rules) == "甲。乙。"


@STEADY
@given(completion=COMPLETIONS, rules=RULES)
def test_any_completion_becomes_an_answer_without_surrounding_space(
    completion: str, rules: AnswerRules
) -> None:
    answer = clean(completion, rules)
    assert answer == answer.strip()
    assert not answer.endswith(("<|im_end|>", "</s>"))


@STEADY
@given(completion=COMPLETIONS)
def test_what_is_clean_stays_as_it_is(completion: str) -> None:
    answer = clean(completion, KEEP_ALL)
    assert clean(answer, KEEP_ALL) == answer
    assert len(answer) <= len(completion)


@STEADY
@given(thought=st.text(st.characters(exclude_characters="<>")), answer=st.text("abc。", min_size=1))
def test_a_thought_never_reaches_the_answer(thought: str, answer: str) -> None:
    assert strip_thinking(f"<think>{thought}</think>{answer}") == answer
    assert strip_thinking(f"{thought}</think>{answer}") == answer
    assert strip_thinking(f"{answer}<think>{thought}") == answer


# -- rules and files


def test_the_first_rule_that_matches_decides() -> None:
    policy = Policy(
        rules=(
            Rule(name="code", keywords=("kernel", "代码"), max_new_tokens=1),
            Rule.model_validate({"name": "why", "patterns": ["^为什么", r"(?i)\bwhy\b"]}),
        )
    )

    def name_for(prompt: str) -> str | None:
        rule = policy.rule_for(prompt)
        return rule.name if rule else None

    assert name_for("为什么这段代码慢？") == "code"
    assert name_for("Write a KERNEL") == "code"
    assert name_for("为什么慢？") == "why"
    assert name_for("Tell me Why") == "why"
    assert name_for("请问为什么慢？") is None
    assert name_for("whyever") is None


def test_keywords_match_whatever_their_case() -> None:
    assert Rule(name="x", keywords=("What Is",)).matches("WHAT IS a warp")


def test_without_a_file_all_prompts_share_one_budget_and_nothing_is_cut() -> None:
    policy = load_policy(None)
    assert policy.rule_for("什么是warp？") is None
    assert clean("一。例如二。三。", policy.answer) == "一。例如二。三。"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rules]]\nname = "x"\nkeywords = ["什么"]\n', encoding="utf-8-sig")
    assert load_policy(path).rule_for("什么是warp？") is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("answer = [", "is not TOML"),
        ("[answers]", "answers: Extra inputs are not permitted"),
        ("[answer]\nmax_sentences = -1", "answer.max_sentences: "),
        ('[answer]\nmax_sentences = "two"', "answer.max_sentences: "),
        ("[answer]\nmax_sentence = 1", "answer.max_sentence: Extra inputs are not permitted"),
        ("[[rules]]\nmax_new_tokens = 1", "rules.0.name: Field required"),
        ('[[rules]]\nname = "a"\nmax_new_tokens = 0', "rules.0.max_new_tokens: "),
        ('[[rules]]\nname = "a"\nmax_new_tokens = 9999999', "rules.0.max_new_tokens: "),
        ('[[rules]]\nname = "a"', "rules.0: Value error, a rule needs keywords or patterns"),
        ('[[rules]]\nname = "a"\nkeywords = [""]', "rules.0.keywords: "),
        ('[[rules]]\nname = "a"\npatterns = ["("]', "rules.0.patterns.0: "),
        ('[[rules]]\nname = "a"\nkeywords = "code"', "rules.0.keywords: "),
        ('[[rules]]\nname = "a"\nanswer = { max = 1 }', "rules.0.answer.max: "),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes("# 问题".encode("gbk"))
    with pytest.raises(PolicyError, match="is not TOML"):
        load_policy(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PolicyError) as caught:
            load_policy(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


# -- the sample policy


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("请编写一个CUDA核函数，实现向量加法。", "code"),
        ("如何写一个矩阵转置的核函数？请详细说明。", "code"),
        ("下面这段代码有什么问题？", "code"),
        ("什么是共享内存？请给出示例代码。", "code"),
        ("请用CUDA实现一个归约算法", "code"),
        ("Write a kernel that adds two vectors.", "code"),
        ("这段程序做什么？\n```\nint a;\n```", "code"),
        ("The function below: 请编写", "code"),
        ("为什么合并访存能提高带宽利用率？", "long"),
        ("什么是warp分化？如何避免？", "long"),
        ("请比较CUDA和OpenCL的区别。", "long"),
        ("EXPLAIN the memory hierarchy", "long"),
        ("什么是warp？", "short"),
        ("线程束的大小是多少？", "short"),
        ("CUDA中的__syncthreads()是否会阻塞整个网格？", "short"),
        ("What is occupancy?", "short"),
        ("请介绍一下Tensor Core。", None),
    ],
)
def test_the_sample_policy_routes_questions_by_type(prompt: str, name: str | None) -> None:
    rule = load_policy(SAMPLE).rule_for(prompt)
    assert (rule and rule.name) == name


def test_the_sample_policy_gives_code_more_room_than_a_definition() -> None:
    budgets = {rule.name: rule.max_new_tokens or 0 for rule in load_policy(SAMPLE).rules}
    assert budgets["code"] > budgets["long"] > budgets["short"]


def test_the_sample_policy_cuts_only_short_answers() -> None:
    policy = load_policy(SAMPLE)
    cut = {rule.name for rule in policy.rules if rule.answer is not None}
    text = "一。二。三。四，例如五。"
    assert cut == {"short"}
    assert clean(text, policy.answer) == text
    rule = policy.rule_for("什么是warp？")
    assert rule is not None
    assert rule.answer is not None
    assert clean(text, rule.answer) == "一。二。三。"
