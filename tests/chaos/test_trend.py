"""What counts as growth, on made-up samples."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.chaos.trend import Measure, TooFewSamples, Trend, trend_of

MEMORY = Measure("memory", "MB", bound_per_hour=20, noise=1.0)
FILES = Measure("files", "", bound_per_hour=0, noise=3)


def trend(measure: Measure, value: Callable[[float], float], minutes: float = 5) -> Trend:
    at_s = [5.0 * number for number in range(int(minutes * 12))]
    requests = [10 * number for number in range(len(at_s))]
    return trend_of(measure, at_s, requests, [value(each) for each in at_s])


def test_what_stands_still_is_flat() -> None:
    flat = trend(MEMORY, lambda at_s: 70.0)
    assert (flat.per_hour, flat.is_growing) == (0, False)


def test_noise_is_no_growth() -> None:
    dice = random.Random(7)
    assert not trend(MEMORY, lambda at_s: 70 + dice.uniform(-2, 2)).is_growing
    assert not trend(FILES, lambda at_s: dice.choice([60, 200])).is_growing


def test_a_leak_is_found_beneath_noise() -> None:
    dice = random.Random(7)
    leak = trend(MEMORY, lambda at_s: 70 + at_s / 36 + dice.uniform(-0.5, 0.5))
    assert leak.is_growing
    assert leak.per_hour == pytest.approx(100, rel=0.1)
    assert leak.per_1000_requests == pytest.approx(1000 / 2 / 36, rel=0.1)


def test_files_that_are_never_closed_are_found() -> None:
    assert trend(FILES, lambda at_s: 60 + at_s // 30).is_growing


def test_less_than_the_bound_or_the_noise_is_no_growth() -> None:
    assert not trend(MEMORY, lambda at_s: 70 + at_s / 360).is_growing  # 10 MB an hour
    assert not trend(MEMORY, lambda at_s: 70 + at_s / 100, minutes=1).is_growing  # 0.6 MB in all


def test_what_shrinks_is_flat() -> None:
    assert not trend(MEMORY, lambda at_s: 70 - at_s / 36).is_growing


def test_too_few_samples_tell_nothing() -> None:
    with pytest.raises(TooFewSamples, match="7 samples of memory, 8 are needed"):
        trend(MEMORY, lambda at_s: 70.0, minutes=7 / 12)
