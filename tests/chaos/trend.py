"""Whether a measure grows beyond its noise. Pure functions.

A measure grows when the 95 % interval of its Theil-Sen slope lies above zero, the slope is over the
measure's bound, and the growth over the samples is more than the measure's own steps: memory comes
and goes in pages, connections by their keep-alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

MIN_SAMPLES = 8
HOUR_S = 3600.0


@dataclass(frozen=True)
class Measure:
    """What is sampled; `bound_per_hour` and `noise` are in its unit."""

    name: str
    unit: str
    bound_per_hour: float
    noise: float


@dataclass(frozen=True)
class Trend:
    """A measure's slope, with its interval, over some time."""

    measure: Measure
    first: float
    last: float
    per_hour: float
    low_per_hour: float
    high_per_hour: float
    per_1000_requests: float
    seconds: float
    num_samples: int

    @property
    def is_growing(self) -> bool:
        """Whether it grows beyond noise."""
        growth = self.per_hour * self.seconds / HOUR_S
        is_over = self.per_hour > self.measure.bound_per_hour and growth > self.measure.noise
        return self.low_per_hour > 0 and is_over


class TooFewSamples(ValueError):
    """No slope can be told."""


def trend_of(
    measure: Measure, at_s: Sequence[float], requests: Sequence[int], values: Sequence[float]
) -> Trend:
    """Fit the slope of `values` over time, and over the requests made. Raises TooFewSamples."""
    if len(values) < MIN_SAMPLES:
        raise TooFewSamples(f"{len(values)} samples of {measure.name}, {MIN_SAMPLES} are needed")
    slope, _, low, high = theilslopes(values, at_s, 0.95)
    per_request = theilslopes(values, requests, 0.95)[0] if requests[-1] > requests[0] else 0.0
    return Trend(
        measure,
        first=values[0],
        last=values[-1],
        # Adding zero turns a negative zero into none.
        per_hour=float(slope) * HOUR_S + 0.0,
        low_per_hour=float(low) * HOUR_S + 0.0,
        high_per_hour=float(high) * HOUR_S + 0.0,
        per_1000_requests=float(per_request) * 1000 + 0.0,
        seconds=at_s[-1] - at_s[0],
        num_samples=len(values),
    )
