"""What a page costs, from two turns."""

from __future__ import annotations

from pytest import approx

from benchmarks.status import Turn, page_percent


def test_by_samples_where_there_are_some() -> None:
    assert page_percent(Turn(5, 10), Turn(4, 10, page_share=0.02)) == approx(0.8)


def test_by_the_difference_of_processor_time_else() -> None:
    assert page_percent(Turn(1.0, 10), Turn(1.3, 12)) == approx(2.5)
