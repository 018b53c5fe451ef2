"""Owns what changed between two judged runs. It asks nothing and scores nothing.

Whether a difference is noise is uncertainty.py's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from evaluator.comparison import Comparison, QuestionChange, ScoreChange
from evaluator.comparison_table import show as show
from evaluator.report import Record, Report, Speed
from evaluator.uncertainty import paired

NOISE_P = 0.05
"""A difference that chance alone gives more often than this is called noise."""

_Key = tuple[str, int]


def compare(a: Report, b: Report) -> Comparison:
    """Compare two runs by the text of their questions: ids move when a set is cut or sampled."""
    in_a, in_b = dict(_keyed(a.records)), dict(_keyed(b.records))
    changes = [_change(in_a[key], in_b[key]) for key in in_a if key in in_b]
    is_scored = bool(changes) and a.official is not None and b.official is not None
    return Comparison(
        name_a=a.name,
        name_b=b.name,
        problems_a=a.problems,
        problems_b=b.problems,
        official=_score_change([(one.official_a, one.official_b) for one in changes])
        if is_scored
        else None,
        jieba=_score_change([(one.jieba_a, one.jieba_b) for one in changes]) if is_scored else None,
        characters_per_s_a=_characters_per_s(a.speed),
        characters_per_s_b=_characters_per_s(b.speed),
        speed_ratio=_ratio(_characters_per_s(a.speed), _characters_per_s(b.speed)),
        n_answers_changed=sum(one.is_answer_changed for one in changes),
        n_references_changed=sum(one.is_reference_changed for one in changes),
        questions=tuple(
            sorted(changes, key=lambda one: (one.jieba_difference, one.official_difference))
        ),
        only_in_a=tuple(record.id for key, record in in_a.items() if key not in in_b),
        only_in_b=tuple(record.id for key, record in in_b.items() if key not in in_a),
    )


def to_json(comparison: Comparison) -> str:
    """The whole comparison for `--json`, ending in a line feed."""
    return msgspec.json.format(msgspec.json.encode(comparison), indent=1).decode() + "\n"


def _keyed(records: Sequence[Record]) -> Iterator[tuple[_Key, Record]]:
    """Tell questions asked twice apart by how often they came before."""
    times: Counter[str] = Counter()
    for record in records:
        yield (record.question, times[record.question]), record
        times[record.question] += 1


def _change(a: Record, b: Record) -> QuestionChange:
    return QuestionChange(
        id=b.id,
        question=b.question,
        official_a=a.official,
        official_b=b.official,
        official_difference=b.official - a.official,
        jieba_a=a.jieba,
        jieba_b=b.jieba,
        jieba_difference=b.jieba - a.jieba,
        answer_a=a.answer,
        answer_b=b.answer,
        is_answer_changed=a.answer != b.answer,
        is_reference_changed=a.reference != b.reference,
    )


def _score_change(scores: Sequence[tuple[float, float]]) -> ScoreChange:
    a, b = [one for one, _ in scores], [other for _, other in scores]
    test = paired(a, b, seed=0)
    return ScoreChange(
        mean_a=sum(a) / len(a),
        mean_b=sum(b) / len(b),
        test=test,
        is_more_than_noise=test.p_value < NOISE_P,
        n_better=sum(other > one for one, other in scores),
        n_worse=sum(other < one for one, other in scores),
    )


def _characters_per_s(speed: Speed | None) -> float | None:
    return speed.characters_per_s if speed else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return b / a if a and b is not None else None
