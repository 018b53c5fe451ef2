"""Owns the figures of `scale`: points, the line through them, how far they are off. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.fanout_rounds import Result, bar
from benchmarks.plot import Spread

FIGURES = ("wall", "CPU")
# What is still called linear: a prompt of the largest batch for at most so many of the usual one.
LINEAR_RATIO = 1.25


@dataclass(frozen=True)
class Point:
    """What `num_prompts` under way in a gateway cost, per prompt."""

    x: int
    num_prompts: int
    wall_us: Spread
    cpu_us: Spread
    peak_mib: float

    def us(self, figure: str) -> float:
        """Return the median of a figure, per prompt."""
        return {"wall": self.wall_us, "CPU": self.cpu_us}[figure].median


def as_point(x: int, num_prompts: int, result: Result) -> Point:
    """Sum up a measurement; raises SystemExit when it failed."""
    wall_us, cpu_us = bar(result, "wall_us"), bar(result, "cpu_us")
    if result.reason or wall_us is None or cpu_us is None:
        raise SystemExit(f"{num_prompts} prompts: {result.reason or 'nothing was measured'}")
    return Point(x, num_prompts, wall_us, cpu_us, max(result.figures("peak_mib")))


@dataclass(frozen=True)
class Line:
    """seconds = start_s + per_prompt_s × prompts."""

    start_s: float
    per_prompt_s: float
    r_squared: float


def fit(points: Sequence[Point], figure: str) -> Line:
    """Return the line through the points, whose relative errors count alike."""
    xs = [float(point.num_prompts) for point in points]
    ys = [point.us(figure) * point.num_prompts / 1e6 for point in points]
    # Without weights the largest batch alone would decide.
    weights = [1 / y**2 for y in ys]
    mean_x, mean_y = _mean(xs, weights), _mean(ys, weights)
    variance = _mean([(x - mean_x) ** 2 for x in xs], weights)
    both = _mean([(x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)], weights)
    slope = both / variance
    start_s = mean_y - slope * mean_x
    rest = _mean([(y - start_s - slope * x) ** 2 for x, y in zip(xs, ys, strict=True)], weights)
    spread = _mean([(y - mean_y) ** 2 for y in ys], weights)
    return Line(start_s, slope, 1 - rest / spread)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def ratio_above(points: Sequence[Point], usual: int, figure: str) -> tuple[float, int]:
    """Return the largest time per prompt of `usual` and more, over that of `usual`, and where."""
    base = next(point for point in points if point.num_prompts == usual)
    above = [point for point in points if point.num_prompts >= usual]
    worst = max(above, key=lambda point: point.us(figure))
    return worst.us(figure) / base.us(figure), worst.x


def verdict(points: Sequence[Point], usual: int) -> str:
    """Say whether the time grows in proportion, on the clock and of the processor."""
    return "\n".join(_verdict(points, usual, figure) for figure in FIGURES)


def _verdict(points: Sequence[Point], usual: int, figure: str) -> str:
    line = fit(points, figure)
    ratio, where = ratio_above(points, usual, figure)
    word = "linear" if ratio <= LINEAR_RATIO else f"NOT linear (over {LINEAR_RATIO})"
    return (
        f"{figure}: {line.start_s * 1e3:.2f} ms + {line.per_prompt_s * 1e6:.0f} µs a prompt, "
        f"R² {line.r_squared:.4f}; from {usual} prompts on a prompt costs at most {ratio:.2f} "
        f"times what it does there (at {where}): {word}"
    )


def table(label: str, points: Sequence[Point]) -> str:
    """Return a Markdown table."""
    lines = [f"{label} | wall µs a prompt | CPU µs a prompt | peak MiB", "--- | --- | --- | ---"]
    for point in points:
        cells = [f"{point.x:,}", _spread(point.wall_us), _spread(point.cpu_us)]
        lines.append(" | ".join([*cells, f"{point.peak_mib:.0f}"]))
    return "\n".join(f"| {line} |" for line in lines)


def _spread(value: Spread) -> str:
    return f"{value.median:.0f} ({value.low:.0f}–{value.high:.0f})"


def document(points: Sequence[Point]) -> dict[str, object]:
    """Return the points and the lines through them, for a JSON file."""
    fits = {figure: asdict(fit(points, figure)) for figure in FIGURES}
    return {"points": [asdict(point) for point in points], "fits": fits}
