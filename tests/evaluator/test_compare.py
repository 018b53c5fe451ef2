from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from evaluator.compare import compare, show, to_json
from evaluator.comparison import Comparison
from evaluator.report import Record, Report
from evaluator.uncertainty import paired
from tests.evaluator import sample_report
from tests.evaluator.sample_report import record, report


def shown(comparison: Comparison, width: int = 100) -> str:
    out = io.StringIO()
    show(comparison, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


def scored(identity: str, jieba: float, official: float = 0.0, answer: str = "a") -> Record:
    return Record(
        id=identity,
        question=f"question {identity}",
        reference="r",
        answer=answer,
        official=official,
        jieba=jieba,
    )


def two_runs() -> tuple[Report, Report]:
    return report(seed=1, name="before"), report(seed=2, name="after")


def test_overall_difference_is_the_paired_test_of_common_questions() -> None:
    a, b = two_runs()
    comparison = compare(a, b)
    assert comparison.official is not None
    assert comparison.jieba is not None
    expected = paired(
        [one.official for one in a.records], [one.official for one in b.records], seed=0
    )
    assert comparison.official.test == expected
    assert comparison.jieba.mean_a == pytest.approx(a.jieba and a.jieba.mean)
    assert comparison.jieba.mean_b == pytest.approx(b.jieba and b.jieba.mean)
    assert comparison.speed_ratio == pytest.approx(
        (b.speed and b.speed.characters_per_s or 0) / (a.speed and a.speed.characters_per_s or 1)
    )


def test_a_run_is_no_different_from_itself() -> None:
    a, _ = two_runs()
    comparison = compare(a, a)
    assert comparison.n_answers_changed == 0
    assert comparison.official is not None
    assert not comparison.official.is_more_than_noise
    assert (comparison.official.n_better, comparison.official.n_worse) == (0, 0)
    assert "may be noise" in shown(comparison)
    assert "from the change on" not in shown(comparison)


def test_worst_regressions_come_first() -> None:
    a = report([scored("1", 0.5), scored("2", 0.9), scored("3", 0.9, 0.9), scored("4", 0.1)])
    b = report([scored("1", 0.5), scored("2", 0.1), scored("3", 0.1), scored("4", 0.9)])
    comparison = compare(a, b)
    assert [one.id for one in comparison.questions] == ["3", "2", "1", "4"]
    assert comparison.jieba is not None
    assert (comparison.jieba.n_better, comparison.jieba.n_worse) == (1, 2)


def test_questions_are_matched_by_their_text_and_not_by_their_number() -> None:
    a = report([record("1", "甲?", "r", "a"), record("2", "乙?", "r", "b")])
    b = report([record("1", "乙?", "r", "b"), record("2", "丙?", "r", "c")])
    comparison = compare(a, b)
    assert [one.question for one in comparison.questions] == ["乙?"]
    assert comparison.only_in_a == ("1",)
    assert comparison.only_in_b == ("2",)
    assert "1 questions only in a: 1" in shown(comparison)


def test_a_question_asked_twice_is_two_questions() -> None:
    twice = [record("1", "q", "r", "a"), record("2", "q", "r", "b")]
    comparison = compare(report(twice), report(twice[:1]))
    assert len(comparison.questions) == 1
    assert comparison.only_in_a == ("2",)


def test_many_missing_questions_are_shortened() -> None:
    made = [scored(str(number), 0.5) for number in range(30)]
    text = shown(compare(report(made), report(made[:5])))
    assert "25 questions only in a: 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, … 15 more" in text


def test_a_large_change_is_more_than_noise_and_is_named() -> None:
    good = report([scored(str(number), 0.9, 0.9) for number in range(40)])
    bad = report([scored(str(number), 0.2, 0.2, "b") for number in range(40)])
    worse, better = compare(good, bad), compare(bad, good)
    assert worse.jieba is not None
    assert worse.jieba.is_more_than_noise
    assert "worse" in shown(worse)
    assert "better" in shown(better)
    assert "40 of 40 answers changed" in shown(worse)
    assert "and 20 more with other scores: see --json" in shown(worse)


def test_runs_without_a_common_question_are_not_tested() -> None:
    comparison = compare(report([scored("1", 0.5)]), report([scored("2", 0.5)]))
    assert comparison.official is None
    assert "not scored in both" in shown(comparison)


def test_a_failed_run_is_named_and_has_no_speed() -> None:
    a, b = two_runs()
    failed = report([], problems=("health: nothing listens",))
    comparison = compare(a, failed)
    assert comparison.jieba is None
    assert comparison.speed_ratio is None
    assert "run b fails: health: nothing listens" in shown(comparison)
    assert compare(failed, b).characters_per_s_a is None
    assert "run a fails" in shown(compare(failed, b))


def test_a_run_of_no_characters_has_no_ratio() -> None:
    nothing = report([scored("1", 0.0, answer="")])
    assert compare(nothing, report([scored("1", 0.5)])).speed_ratio is None


def test_other_references_are_told() -> None:
    a = report([record("1", "q", "old", "a")])
    b = report([record("1", "q", "new", "a")])
    comparison = compare(a, b)
    assert comparison.n_references_changed == 1
    assert "1 references differ" in shown(comparison)


def test_answers_are_shown_from_the_change_on() -> None:
    same = "the same words at the start of both, "
    a = report([record("1", "q", "r end", same + "then this end")])
    b = report([record("1", "q", "r end", same + "but that")])
    text = shown(compare(a, b))
    assert "…th, then this" in text
    assert "…th, but that" in text


def test_one_changed_question_among_many_is_no_proof() -> None:
    a = report([scored(str(number), 0.9) for number in range(20)])
    b = report([scored("0", 0.1), *a.records[1:]])
    comparison = compare(a, b)
    assert comparison.jieba is not None
    assert comparison.jieba.n_worse == 1
    assert not comparison.jieba.is_more_than_noise


def test_what_an_answer_says_is_text_to_the_terminal() -> None:
    attack = "[bold red]x[/]\x1b[31m\nnext \u202eleft"
    a = report([record(attack, attack, "r", attack)], name=attack, problems=(attack,))
    b = report([record(attack, attack, "r", "r")], name=attack)
    text = shown(compare(a, b), width=200)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("[bold red]x[/]") >= 5


@pytest.mark.parametrize("width", [60, 80, 200])
def test_scores_are_whole_at_any_width(width: int) -> None:
    a = report([scored("1", 0.91, 0.82)])
    b = report([scored("1", 0.12, 0.03, "b")])
    text = shown(compare(a, b), width)
    assert "0.91 → 0.12" in text
    assert "0.82 → 0.03" in text


def test_json_is_the_comparison() -> None:
    comparison = compare(*two_runs())
    text = to_json(comparison)
    assert text.endswith("}\n")
    assert msgspec.json.decode(text, type=Comparison) == comparison
    assert len(comparison.questions) == len(sample_report.pairs())
