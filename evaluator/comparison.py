"""Owns what a comparison of two judged runs consists of, as plain values. It computes nothing."""

from __future__ import annotations

import msgspec

from evaluator.uncertainty import PairedDifference


class QuestionChange(msgspec.Struct, frozen=True, kw_only=True):
    """One question of both runs; differences are b - a."""

    id: str
    """As in run b."""
    question: str
    official_a: float
    official_b: float
    official_difference: float
    jieba_a: float
    jieba_b: float
    jieba_difference: float
    answer_a: str
    answer_b: str
    is_answer_changed: bool
    is_reference_changed: bool
    """The reference differs, so the scores are not of the same thing."""


class ScoreChange(msgspec.Struct, frozen=True, kw_only=True):
    """One score over the questions of both runs."""

    mean_a: float
    mean_b: float
    test: PairedDifference
    is_more_than_noise: bool
    n_better: int
    n_worse: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from run a to run b."""

    name_a: str
    name_b: str
    problems_a: tuple[str, ...]
    problems_b: tuple[str, ...]
    official: ScoreChange | None
    jieba: ScoreChange | None
    """None without a scored question in both runs."""
    characters_per_s_a: float | None
    characters_per_s_b: float | None
    speed_ratio: float | None
    """b / a; None when one run has no speed."""
    n_answers_changed: int
    n_references_changed: int
    questions: tuple[QuestionChange, ...]
    """Those of both runs, the worst regression first: by jieba, then by official."""
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    """Ids."""
