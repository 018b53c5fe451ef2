"""Owns where everything in the report's plots stands. It draws nothing: the template does.

Places are user units of an SVG whose view box is WIDTH x HEIGHT, or per cent of an axis where
the width of the page decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from evaluator.report import Accuracy, PhaseReport, Record

WIDTH, HEIGHT = 340.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 330.0, 10.0, 176.0
BINS = 10
LEAST = 1e-9
"""Anything less is 0 on an axis."""


class Tick(msgspec.Struct, frozen=True):
    """A labelled place on an axis."""

    at: float
    label: str


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of a histogram."""

    series: str
    x: float
    y: float
    width: float
    height: float
    title: str


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One record in a scatter plot."""

    series: str
    x: float
    y: float
    title: str
    position: int
    """The record's place in the report."""


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A plot of bars or points with its axes."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    points: tuple[Point, ...] = ()
    lines: tuple[Tick, ...] = ()
    """Horizontal lines across the plot, such as a median."""


class PhaseBar(msgspec.Struct, frozen=True, kw_only=True):
    """One phase on the time line; places in per cent of the axis."""

    phase: PhaseReport
    start: float
    length: float
    allowed: float
    """Length of what the limit allows."""
    is_over: bool


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """All phases on one axis of seconds after the start of the run."""

    bars: tuple[PhaseBar, ...]
    ticks: tuple[Tick, ...]


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """An accuracy with its interval between 0 and 1; places in per cent."""

    mean: float
    low: float
    width: float
    ticks: tuple[Tick, ...]


def score_distribution(records: Sequence[Record]) -> Plot:
    """How many answers reached which score, official beside jieba."""
    counts = {
        "official": _counts(record.official for record in records),
        "jieba": _counts(record.jieba for record in records),
    }
    y_ticks = nice_ticks(max(max(series) for series in counts.values()), is_whole=True)
    highest = y_ticks[-1]
    slot = (RIGHT - LEFT) / BINS
    width = slot * 0.4
    bars = [
        Bar(
            series=name,
            x=_round(LEFT + slot * at + slot * 0.1 + width * side),
            y=_round(_up(count / highest)),
            width=_round(width),
            height=_round(BOTTOM - _up(count / highest)),
            title=f"{name} {at / BINS:.1f}–{(at + 1) / BINS:.1f}: {count}",
        )
        for side, (name, series) in enumerate(counts.items())
        for at, count in enumerate(series)
        if count
    ]
    return Plot(x_ticks=_scores_across(), y_ticks=_ticks_up(y_ticks, highest), bars=tuple(bars))


def length_against_score(records: Sequence[Record]) -> Plot:
    """Characters of every answer against both its scores."""
    ticks = nice_ticks(max((len(record.answer) for record in records), default=0), is_whole=True)
    points = [
        Point(
            series=series,
            x=_round(_right(len(record.answer) / ticks[-1])),
            y=_round(_up(score)),
            title=f"{record.id}: {len(record.answer)}, {series} {score:.2f}",
            position=position,
        )
        for position, record in enumerate(records)
        for series, score in (("official", record.official), ("jieba", record.jieba))
    ]
    y_ticks = _ticks_up([0.0, 0.25, 0.5, 0.75, 1.0], 1.0)
    return Plot(x_ticks=_ticks_across(ticks), y_ticks=y_ticks, points=tuple(points))


def latency(records: Sequence[Record]) -> Plot | None:
    """Seconds of every question in the order asked; None when no question has its own."""
    timed = [
        (position, record.id, record.latency_s)
        for position, record in enumerate(records)
        if record.latency_s is not None
    ]
    if not timed:
        return None
    seconds = sorted(value for _, _, value in timed)
    x_ticks, y_ticks = nice_ticks(len(records), is_whole=True), nice_ticks(seconds[-1])
    points = [
        Point(
            series="failed" if records[position].error else "latency",
            x=_round(_right((position + 1) / x_ticks[-1])),
            y=_round(_up(value / y_ticks[-1])),
            title=f"{identity}: {value:.3g} s",
            position=position,
        )
        for position, identity, value in timed
    ]
    marks = {"p50": median(seconds), "p95": seconds[math.ceil(0.95 * len(seconds)) - 1]}
    lines = [
        Tick(_round(_up(value / y_ticks[-1])), f"{name} {value:.3g} s")
        for name, value in marks.items()
    ]
    return Plot(
        x_ticks=_ticks_across(x_ticks),
        y_ticks=_ticks_up(y_ticks, y_ticks[-1]),
        points=tuple(points),
        lines=tuple(lines),
    )


def timeline(phases: Sequence[PhaseReport]) -> Timeline:
    """Every phase, and what its limit allowed, on the axis of the whole run."""
    ends = [phase.started_s + max(phase.seconds, phase.limit_s) for phase in phases]
    ticks = nice_ticks(max(ends, default=0))
    percent = 100 / ticks[-1]
    bars = [
        PhaseBar(
            phase=phase,
            start=_round(phase.started_s * percent),
            length=_round(phase.seconds * percent),
            allowed=_round(phase.limit_s * percent),
            is_over=phase.seconds > phase.limit_s,
        )
        for phase in phases
    ]
    return Timeline(
        bars=tuple(bars), ticks=tuple(Tick(_round(tick * percent), f"{tick:g}") for tick in ticks)
    )


def scale(accuracy: Accuracy, labelled: Sequence[float], unlabelled: Sequence[float] = ()) -> Scale:
    """An accuracy and its interval among the marks that matter; close ones go without a label."""
    low, high = accuracy.interval.low, accuracy.interval.high
    return Scale(
        mean=_round(accuracy.mean * 100),
        low=_round(low * 100),
        width=_round((high - low) * 100),
        ticks=(
            *(Tick(_round(mark * 100), "") for mark in unlabelled),
            *(Tick(_round(mark * 100), f"{mark:g}") for mark in labelled),
        ),
    )


def nice_ticks(highest: float, count: int = 5, is_whole: bool = False) -> list[float]:
    """About `count` round numbers from 0 to at least `highest`, which may be 0."""
    rough = (highest if highest > LEAST else 1.0) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.999)
    if is_whole:
        step = max(1.0, math.ceil(step))
    steps = max(1, math.ceil(highest / step - 1e-9))
    return [float(f"{step * i:.6g}") for i in range(steps + 1)]


def _counts(scores: Iterable[float]) -> list[int]:
    counts = [0] * BINS
    for score in scores:
        counts[min(int(score * BINS + 1e-9), BINS - 1)] += 1
    return counts


def _up(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share


def _right(share: float) -> float:
    return LEFT + (RIGHT - LEFT) * share


def _round(value: float) -> float:
    return round(value, 1)


def _scores_across() -> tuple[Tick, ...]:
    return _ticks_across([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def _ticks_across(values: Sequence[float]) -> tuple[Tick, ...]:
    return tuple(Tick(_round(_right(value / values[-1])), f"{value:g}") for value in values)


def _ticks_up(values: Sequence[float], highest: float) -> tuple[Tick, ...]:
    return tuple(Tick(_round(_up(value / highest)), f"{value:g}") for value in values)
