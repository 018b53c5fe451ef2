"""Owns how sure a score is: the interval of a mean, and whether two runs differ by more than noise.

It computes from scores only and draws from a seeded generator: the same scores give the same
figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluator.report import Interval

RESAMPLES = 10_000
"""Of the bootstrap: the bounds for 100 scores then move by some 0.001 from seed to seed."""

_DRAWS_AT_ONCE = 2_000_000  # 16 MB of indices, whatever the number of questions


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How far run b is above run a over the same questions."""

    difference: float
    """mean(b) - mean(a)."""
    interval: Interval
    """Of the difference."""
    p_value: float
    """How often chance alone gives a difference as far from 0, two-sided."""
    n: int
    """Questions compared."""


def bootstrap_mean(scores: Sequence[float], seed: int = 0, level: float = 0.95) -> Interval:
    """The percentile bootstrap interval of the mean of `scores`; ValueError without any score."""
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        raise ValueError("there are no scores to take a mean of")
    tail = (1.0 - level) / 2
    low, high = np.quantile(_resampled_means(values, seed), [tail, 1.0 - tail])
    return Interval(low=float(low), high=float(high), level=level)


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0) -> PairedDifference:
    """Compare two runs, `a[i]` and `b[i]` being scores of one question; ValueError if they cannot.

    The test is a sign-flip permutation of the differences: it is about the mean, which is what is
    ranked, and takes the many questions with an equal score in both (Wilcoxon drops those and
    tests a median).
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} scores are not of the same questions")
    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    interval = bootstrap_mean(differences.tolist(), seed)
    return PairedDifference(
        difference=float(differences.mean()),
        interval=interval,
        p_value=_sign_flip_p_value(differences, seed),
        n=len(a),
    )


def _resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWS_AT_ONCE // values.size)
    parts = []
    for start in range(0, RESAMPLES, rows):
        size = (min(rows, RESAMPLES - start), values.size)
        parts.append(values[generator.integers(values.size, size=size)].mean(axis=1))
    return np.concatenate(parts)


def _sign_flip_p_value(differences: NDArray[np.float64], seed: int) -> float:
    # A difference of 0 has no sign: without it the test is the same, and sooner exact.
    changed = differences[differences != 0.0]
    if changed.size <= 1:  # one sign is as likely as the other
        return 1.0
    result = stats.permutation_test(
        (changed,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        batch=max(1, _DRAWS_AT_ONCE // changed.size),
        random_state=seed,
    )
    return float(result.pvalue)
