"""Whether a growth is called linear."""

from __future__ import annotations

import pytest

from benchmarks.fanout_measure import Turn
from benchmarks.fanout_rounds import Result
from benchmarks.plot import Spread
from benchmarks.scale_fit import Point, as_point, document, fit, ratio_above, table, verdict

SIZES = (1, 10, 358, 10_000)


def point(num_prompts: int, seconds: float) -> Point:
    wall_us = seconds / num_prompts * 1e6
    flat = Spread(wall_us, wall_us, wall_us)
    return Point(num_prompts, num_prompts, flat, flat, 64.0)


def test_line_is_found() -> None:
    line = fit([point(size, 0.002 + 0.0001 * size) for size in SIZES], "wall")

    assert line.start_s == pytest.approx(0.002)
    assert line.per_prompt_s == pytest.approx(0.0001)
    assert line.r_squared == pytest.approx(1)


def test_proportional_growth_is_called_linear() -> None:
    text = verdict([point(size, 0.002 + 0.0001 * size) for size in SIZES], 358).splitlines()[0]

    assert text.startswith("wall: 2.00 ms + 100 µs a prompt, R² 1.0000;")
    assert text.endswith("1.00 times what it does there (at 358): linear")


def test_quadratic_growth_is_not_called_linear() -> None:
    text = verdict([point(size, 0.0001 * size + 1e-7 * size**2) for size in SIZES], 358)

    assert "(at 10000)" in text
    assert text.endswith("NOT linear (over 1.25)")


def test_small_batches_may_cost_more_a_prompt() -> None:
    points = [point(1, 1.0), point(358, 0.1), point(10_000, 2.0)]

    assert ratio_above(points, 358, "wall") == (1.0, 358)


def test_processor_time_is_judged_apart_from_the_clock() -> None:
    """A machine that has other work slows the clock down, and not the count."""
    flat = Spread(100, 100, 100)
    slow = Spread(300, 300, 300)
    points = [Point(358, 358, flat, flat, 64.0), Point(9_000, 9_000, slow, flat, 64.0)]

    on_the_clock, processor = verdict(points, 358).splitlines()

    assert "at most 3.00" in on_the_clock and on_the_clock.endswith("NOT linear (over 1.25)")
    assert processor.startswith("CPU: ") and processor.endswith(": linear")


def test_point_sums_up_the_turns() -> None:
    result = Result([Turn(10, 30, 60), Turn(20, 50, 61), Turn(15, 40, 65)])

    assert as_point(4, 8, result) == Point(4, 8, Spread(40, 30, 50), Spread(15, 10, 20), 65)


def test_point_that_was_not_measured_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="358 prompts: status 500"):
        as_point(1, 358, Result(reason="status 500"))


def test_table_and_document_hold_every_point() -> None:
    points = [point(size, 0.001 * size) for size in SIZES]

    assert "| 10,000 | 1000 (1000–1000) | 1000 (1000–1000) | 64 |" in table("prompts", points)
    assert len(document(points)["points"]) == len(SIZES)  # type: ignore[arg-type]
