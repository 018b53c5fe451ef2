from __future__ import annotations

import math

import numpy as np
import pytest

from evaluator import uncertainty


def _scores(n: int, seed: int, mean: float = 0.5) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(mean, 0.2, n).clip(0, 1)]


def test_interval_agrees_with_the_normal_approximation() -> None:
    scores = _scores(358, seed=1)
    interval = uncertainty.bootstrap_mean(scores)
    half = 1.96 * np.std(scores) / math.sqrt(len(scores))
    assert interval.level == 0.95
    assert interval.low == pytest.approx(np.mean(scores) - half, abs=0.002)
    assert interval.high == pytest.approx(np.mean(scores) + half, abs=0.002)


def test_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        interval = uncertainty.bootstrap_mean(_scores(60, seed=seed), seed=seed, level=0.9)
        inside += interval.low <= 0.5 <= interval.high
    assert 80 <= inside <= 98


def test_same_seed_same_interval_and_another_seed_another() -> None:
    scores = _scores(100, seed=2)
    first = uncertainty.bootstrap_mean(scores, seed=3)
    assert uncertainty.bootstrap_mean(scores, seed=3) == first
    assert uncertainty.bootstrap_mean(scores, seed=4) != first


def test_a_higher_level_is_wider() -> None:
    scores = _scores(100, seed=2)
    narrow = uncertainty.bootstrap_mean(scores, level=0.8)
    wide = uncertainty.bootstrap_mean(scores, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_scores_leave_no_uncertainty() -> None:
    interval = uncertainty.bootstrap_mean([0.25] * 50)
    assert (interval.low, interval.high) == (0.25, 0.25)
    assert uncertainty.bootstrap_mean([0.25]) == interval


def test_no_scores_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no scores"):
        uncertainty.bootstrap_mean([])


def test_a_clear_improvement_is_more_than_noise() -> None:
    a = _scores(100, seed=5)
    b = [score + 0.1 for score in a]
    found = uncertainty.paired(a, b)
    assert found.difference == pytest.approx(0.1)
    assert found.interval.low == pytest.approx(0.1)
    assert found.p_value < 0.001
    assert found.n == 100
    assert uncertainty.paired(b, a).difference == pytest.approx(-0.1)


def test_noise_around_0_is_not_an_improvement() -> None:
    a = _scores(100, seed=6)
    noise = np.random.default_rng(7).permutation([0.05, -0.05] * 50)
    found = uncertainty.paired(a, (np.asarray(a) + noise).tolist())
    assert found.p_value > 0.9
    assert found.interval.low < 0 < found.interval.high


def test_p_value_of_few_changes_is_exact() -> None:
    """Three questions got better, none worse, all others are equal: 2 of 2³ sign patterns."""
    a = [0.0, 0.0, 0.0, *[0.5] * 40]
    b = [0.1, 0.2, 0.4, *[0.5] * 40]
    assert uncertainty.paired(a, b).p_value == pytest.approx(0.25)


def test_two_equal_runs_do_not_differ() -> None:
    found = uncertainty.paired([0.1, 0.9], [0.1, 0.9])
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


def test_comparison_is_repeatable() -> None:
    a, b = _scores(60, seed=8), _scores(60, seed=9)
    assert uncertainty.paired(a, b, seed=1) == uncertainty.paired(a, b, seed=1)


def test_runs_of_different_length_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="2 and 1 scores"):
        uncertainty.paired([0.1, 0.2], [0.1])


def test_one_changed_question_is_no_more_than_noise() -> None:
    """scipy's permutation test refuses a single observation."""
    assert uncertainty.paired([0.5, 0.5], [0.5, 1.0]).p_value == 1.0
