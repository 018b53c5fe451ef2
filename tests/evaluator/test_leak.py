from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator import leak
from evaluator.report import Question


def _set(*texts: str) -> list[Question]:
    return [Question(id=f"q{n}", question=text) for n, text in enumerate(texts, start=1)]


def _similarity(a: str, b: str) -> float:
    found = leak.leak_check(_set(a), _set(b), threshold=0.01)
    return (found.exact or found.near)[0].similarity if found.leaked else 0.0


@pytest.mark.parametrize(
    "training_question",
    [
        "什么是warp？",
        "什么是 warp",
        " 什么是WARP?\n",
        "什么是ｗａｒｐ",
        "「什么是 warp」！",
    ],
)
def test_spelling_does_not_hide_a_seen_question(training_question: str) -> None:
    found = leak.leak_check(_set("什么是warp？"), _set("别的问题", training_question))
    assert [(m.id, m.training_question, m.similarity) for m in found.exact] == [
        ("q1", training_question, 1.0)
    ]
    assert found.near == ()
    assert (found.questions, found.training_questions, found.leaked) == (1, 2, 1)


def test_nearly_the_same_question_is_listed_with_the_most_similar_one() -> None:
    question = "如何减少warp divergence？"
    training = _set(
        "怎样减少warp divergence的开销？", "如何减少 warp divergence 呢？", "什么是warp？"
    )
    found = leak.leak_check(_set(question), training)
    assert found.exact == ()
    assert [m.training_question for m in found.near] == ["如何减少 warp divergence 呢？"]
    assert 0.6 <= found.near[0].similarity < 1.0


def test_near_matches_are_ordered_by_similarity() -> None:
    found = leak.leak_check(
        _set("什么是KV cache量化呢", "GPU的存储层次有哪些", "怎样用event测量时间"),
        _set("什么是KV cache量化", "GPU的存储层次都有哪些呀", "卷积如何转化为矩阵乘法"),
    )
    assert [m.id for m in found.near] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("a", "b", "similarity"),
    [("什么是warp？", "请问什么是warp？谢谢", 0.6), ("什么是张量核心？", "什么是张量并行？", 0.5)],
)
def test_similarity_is_as_documented(a: str, b: str, similarity: float) -> None:
    assert _similarity(a, b) == pytest.approx(similarity)
    assert leak.leak_check(_set(a), _set(b)).leaked == (similarity >= leak.NEAR)


def test_other_questions_are_no_leak() -> None:
    found = leak.leak_check(_set("什么是warp？", "", "？？"), _set("什么是SIMT？", "。"))
    assert found.leaked == 0


def test_questions_of_punctuation_or_one_character_are_compared_as_they_are() -> None:
    found = leak.leak_check(_set("？？", "核"), _set("核", "?? "))
    assert [m.id for m in found.exact] == ["q1", "q2"]


@pytest.mark.parametrize(("questions", "training"), [([], ["a"]), (["a"], []), ([], [])])
def test_nothing_leaks_from_or_into_an_empty_set(questions: list[str], training: list[str]) -> None:
    assert leak.leak_check(_set(*questions), _set(*training)).leaked == 0


@given(
    st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=8),
    st.text("abcde", min_size=1, max_size=9),
    st.sampled_from([0.1, 0.5, 0.6, 1.0]),
)
def test_the_index_finds_what_comparing_every_pair_finds(
    training: list[str], question: str, threshold: float
) -> None:
    def pairs(text: str) -> set[str]:
        return {text[i : i + 2] for i in range(len(text) - 1)} or {text}

    mine = pairs(question)
    best = max(len(mine & pairs(text)) / len(mine | pairs(text)) for text in training)
    found = leak.leak_check(_set(question), _set(*training), threshold)
    if question in training:
        assert [m.training_question for m in found.exact] == [question]
    elif best >= threshold:
        assert [m.similarity for m in found.near] == [pytest.approx(best)]
    else:
        assert found.leaked == 0


def test_a_large_training_set_is_checked_in_seconds() -> None:
    draw = random.Random(1)
    words = [
        "什么是",
        "如何",
        "为什么",
        "共享内存",
        "warp",
        "kernel",
        "的",
        "优化",
        "显存",
        "矩阵乘法",
    ]
    words += [chr(0x4E00 + draw.randrange(3_000)) for _ in range(500)]
    training = _set(*("".join(draw.choices(words, k=14)) for _ in range(20_000)))
    questions = [*_set(*("".join(draw.choices(words, k=14)) for _ in range(300))), *training[:58]]
    started = time.process_time()
    found = leak.leak_check(questions, training)
    assert time.process_time() - started < 15.0
    assert len(found.exact) == 58
