from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator import plots
from evaluator.report import Accuracy, Interval, PhaseReport, Record


def record(
    official: float = 0.0,
    jieba: float = 0.0,
    answer: str = "x",
    latency_s: float | None = None,
    error: str = "",
) -> Record:
    return Record(
        id="7",
        question="q",
        reference="r",
        answer=answer,
        official=official,
        jieba=jieba,
        latency_s=latency_s,
        error=error,
    )


def phase(started_s: float, seconds: float, limit_s: float) -> PhaseReport:
    return PhaseReport(name="p", started_s=started_s, seconds=seconds, limit_s=limit_s)


def test_distribution_counts_every_score_once_and_1_in_the_last_bin() -> None:
    plot = plots.score_distribution(
        [record(0.0, 1.0), record(0.3, 1.0), record(0.3, 0.95), record(0.7, 0.5)]
    )
    titles = {bar.title for bar in plot.bars}
    assert titles == {
        "official 0.0–0.1: 1",
        "official 0.3–0.4: 2",
        "official 0.7–0.8: 1",
        "jieba 0.9–1.0: 3",
        "jieba 0.5–0.6: 1",
    }


def test_bars_stand_on_the_axis_and_are_as_high_as_their_count() -> None:
    plot = plots.score_distribution([record(0.05, 1.0), record(0.15, 1.0)])
    heights = {bar.title: bar.height for bar in plot.bars}
    assert heights["jieba 0.9–1.0: 2"] == pytest.approx(2 * heights["official 0.0–0.1: 1"], abs=0.2)
    assert all(bar.y + bar.height == pytest.approx(plots.BOTTOM, abs=0.2) for bar in plot.bars)
    assert all(one.x + one.width <= other.x for one, other in pairwise(plot.bars[:2]))


def test_lengths_put_both_scores_of_a_record_above_its_length() -> None:
    plot = plots.length_against_score([record(0.0, 1.0, "x" * 100), record(1.0, 0.5, "")])
    first, second = plot.points[:2]
    assert (first.series, first.y) == ("official", plots.BOTTOM)
    assert (second.series, second.y) == ("jieba", plots.TOP)
    assert first.x == second.x == plots.RIGHT
    assert [point.x for point in plot.points[2:]] == [plots.LEFT, plots.LEFT]
    assert [point.position for point in plot.points] == [0, 0, 1, 1]
    assert "100" in first.title


def test_latency_marks_median_p95_and_failures() -> None:
    records = [record(latency_s=value / 100) for value in range(1, 100)]
    plot = plots.latency([*records, record(latency_s=1.0, error="HTTP 500"), record()])
    assert plot is not None
    assert [line.label for line in plot.lines] == ["p50 0.505 s", "p95 0.95 s"]
    assert [point.series for point in plot.points].count("failed") == 1
    assert len(plot.points) == 100
    assert plot.points[0].y > plot.points[-1].y


def test_no_latency_no_plot() -> None:
    assert plots.latency([record()]) is None
    assert plots.latency([]) is None


def test_timeline_shows_use_and_limit_in_per_cent_of_the_axis() -> None:
    timeline = plots.timeline([phase(0, 100, 500), phase(100, 450, 400)])
    assert [tick.label for tick in timeline.ticks] == ["0", "200", "400", "600"]
    first, second = timeline.bars
    assert (first.start, first.length, first.allowed) == (0, 16.7, 83.3)
    assert (second.start, second.length, second.allowed) == (16.7, 75, 66.7)
    assert (first.is_over, second.is_over) == (False, True)


def test_timeline_of_nothing_is_empty() -> None:
    assert plots.timeline([]).bars == ()


def test_scale_labels_only_what_has_room() -> None:
    accuracy = Accuracy(mean=0.5, interval=Interval(low=0.4, high=0.65, level=0.95))
    scale = plots.scale(accuracy, (0, 1), (0.28,))
    assert (scale.mean, scale.low, scale.width) == (50, 40, 25)
    assert [(tick.at, tick.label) for tick in scale.ticks] == [(28, ""), (0, "0"), (100, "1")]


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, [0, 0.2]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (87, [0, 20, 40, 60, 80, 100]),
        (0.013, [0, 0.005, 0.01, 0.015]),
        (620, [0, 200, 400, 600, 800]),
    ],
)
def test_ticks_are_round(highest: float, ticks: list[float]) -> None:
    assert plots.nice_ticks(highest) == ticks


@given(st.floats(0, 1e7), st.booleans())
def test_ticks_reach_the_highest_value_in_few_even_steps(highest: float, is_whole: bool) -> None:
    ticks = plots.nice_ticks(highest, is_whole=is_whole)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * 0.999
    assert 2 <= len(ticks) <= 7
    assert all(one < other for one, other in pairwise(ticks))
    assert not is_whole or all(tick == int(tick) for tick in ticks)
