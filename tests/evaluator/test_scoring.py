from __future__ import annotations

import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from evaluator import scoring

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jieba

TEXT = st.text(
    st.sampled_from(list("aZ9_.-+ \n\t，。：（")) | st.sampled_from(list("显存线程块访问的是")),
    max_size=60,
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module", autouse=True)
def loaded_dictionary() -> None:
    scoring.official("load", "jieba's dictionary outside of any deadline")


@pytest.mark.parametrize(
    ("reference", "prediction", "score"),
    [
        # Chinese alone does not count, not even when it is identical.
        ("显存不足", "显存不足", 0.0),
        ("什么是线程块？", "什么是线程束？", 0.0),
        # ASCII only: LCS of 4 words in 5 and 4: P 4/4, R 4/5, F1 8/9.
        ("use shared memory per block", "use shared memory block", 8 / 9),
        ("a b c d", "d c b a", 0.25),
        ("warp", "warp", 1.0),
        ("Warp", "wARP", 1.0),
        ("__global__ void", "global void", 1.0),
        # Mixed: only warp, 32, thread against warp, 64, thread: 2 of 3 and 2 of 3.
        ("warp 由 32 个 thread 组成", "一个 warp 有 64 个 thread", 2 / 3),
        # The same text with every ASCII word translated: nothing is left.
        ("warp 是执行单位", "线程束是执行单位", 0.0),
        # Empty sides.
        ("", "", 0.0),
        ("warp", "", 0.0),
        ("", "warp", 0.0),
        ("warp", " \n", 0.0),
        # jieba keeps letters and digits together, and cuts at a hyphen.
        ("FP8", "fp 8", 0.0),
        ("4-bit", "4 bit", 1.0),
    ],
)
def test_official_score_of_hand_computed_cases(
    reference: str, prediction: str, score: float
) -> None:
    assert scoring.official(reference, prediction) == pytest.approx(score)


@settings(max_examples=300, deadline=None)
@given(reference=TEXT, prediction=TEXT)
def test_official_score_is_rouge_score_called_directly(reference: str, prediction: str) -> None:
    expected = 0.0
    if reference and prediction:
        direct = RougeScorer(["rougeL"], use_stemmer=False)
        joined = [" ".join(jieba.lcut(text)) for text in (reference, prediction)]
        expected = direct.score(*joined)["rougeL"].fmeasure
    assert scoring.official(reference, prediction) == expected


@pytest.mark.parametrize(
    ("reference", "prediction", "score"),
    [
        ("显存不足", "显存不足", 1.0),
        # 显存 | 不足 against 显存 | 足够.
        ("显存不足", "显存足够", 0.5),
        # warp | 是 | 执行 | 单位 against 它 | 是 | 调度 | 单位: LCS 2 of 4 and 4.
        ("warp是执行单位", "它是调度单位", 0.5),
        ("Warp 是  执行\n单位", "warp是执行单位", 1.0),
        # Punctuation is a word: LCS 2 of 3 and of 2.
        ("显存不足。", "显存不足", 0.8),
        ("", "显存", 0.0),
        ("显存", "", 0.0),
        (" \n\t", " \n\t", 0.0),
    ],
)
def test_jieba_score_of_hand_computed_cases(reference: str, prediction: str, score: float) -> None:
    assert scoring.jieba_score(reference, prediction) == pytest.approx(score)


@settings(max_examples=200, deadline=None)
@given(reference=TEXT, prediction=TEXT)
def test_jieba_score_is_symmetric_and_1_for_the_same_words(reference: str, prediction: str) -> None:
    score = scoring.jieba_score(reference, prediction)
    assert 0.0 <= score <= 1.0
    assert scoring.jieba_score(prediction, reference) == pytest.approx(score)
    assert scoring.jieba_score(reference, reference) == (1.0 if reference.strip() else 0.0)


def test_a_whole_set_is_scored_in_seconds() -> None:
    reference = "warp 是 GPU 调度与执行的基本单位，由 32 个 thread 组成，以 SIMT 方式执行指令。" * 3
    prediction = "一个 warp 有 32 个 thread，硬件按 warp 分配资源，分支不同时依次执行各条路径。" * 3
    started = time.process_time()
    for number in range(358):
        scoring.official(reference, f"{prediction}{number}")
        scoring.jieba_score(reference, f"{prediction}{number}")
    assert time.process_time() - started < 6.0


@pytest.mark.parametrize(
    ("accuracy", "name"),
    [
        (1.0, "ranked (0.35 or more)"),
        (0.35, "ranked (0.35 or more)"),
        (0.3499, "second grade (0.28 or more)"),
        (0.28, "second grade (0.28 or more)"),
        (0.2799, "third grade (0.23 or more)"),
        (0.23, "third grade (0.23 or more)"),
        (0.2299, "listed, below every grade (under 0.23)"),
        (0.001, "listed, below every grade (under 0.23)"),
        (0.0009, "not listed (under 0.001)"),
        (0.0, "not listed (under 0.001)"),
    ],
)
def test_grade_bands(accuracy: float, name: str) -> None:
    assert scoring.grade(accuracy) == name


def test_speed_counts_characters_as_the_evaluator_does() -> None:
    speed = scoring.speed(["显存 8 GB", "", "ok"], post_s=0.5)
    assert (speed.characters, speed.post_s, speed.characters_per_s) == (9, 0.5, 18.0)
    assert (speed.tokens, speed.tokens_per_s, speed.tokens_source) == (None, None, "")


def test_speed_takes_the_text_of_answers_that_are_no_text() -> None:
    assert scoring.speed([None, 12, ["a"]], post_s=1.0).characters == 4 + 2 + 5


def test_speed_without_any_time_is_0() -> None:
    assert scoring.speed(["warp"], post_s=0.0).characters_per_s == 0.0


@pytest.mark.parametrize(
    ("answers", "n", "expected"),
    [
        (["a", "b"], 2, (["a", "b"], 0)),
        (["a"], 3, (["a", "", ""], -2)),
        (["a", "b", "c"], 2, (["a", "b"], 1)),
        ([], 1, ([""], -1)),
    ],
)
def test_answers_are_aligned_with_the_questions(
    answers: list[str], n: int, expected: tuple[list[str], int]
) -> None:
    assert scoring.aligned(answers, n) == expected


def test_padding_scores_nothing() -> None:
    padded, _ = scoring.aligned(["warp"], 2)
    scores = [scoring.official("warp", answer) for answer in padded]
    assert scores == [1.0, 0.0]


def test_scoring_prints_nothing_even_when_warnings_are_on() -> None:
    code = "from evaluator import scoring; scoring.official('显存', '显存')"
    done = subprocess.run(
        [sys.executable, "-W", "always::SyntaxWarning", "-W", "always::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
