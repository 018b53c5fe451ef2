from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.status_history import History


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def last(values: list[int], count: int) -> list[int]:
    return values[-count:]


def test_nothing_was_written_yet(clock: Clock) -> None:
    series = History(clock, seconds=10).series()
    assert series == {"characters": [0] * 9, "tokens": [0] * 9}


def test_an_answer_counts_evenly_over_the_seconds_that_it_took(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1004.0
    history.add(1000.0, characters=400, tokens=100)
    clock.now = 1005.5
    series = history.series()
    assert last(series["characters"], 6) == [0, 100, 100, 100, 100, 0]
    assert last(series["tokens"], 6) == [0, 25, 25, 25, 25, 0]


def test_seconds_that_it_was_in_for_a_part_get_their_part(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1002.25
    history.add(1000.75, characters=150, tokens=0)
    clock.now = 1003.0
    assert last(history.series()["characters"], 3) == [25, 100, 25]


def test_the_second_that_is_under_way_is_not_told_yet(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1000.5
    history.add(1000.4, characters=7, tokens=1)
    assert sum(history.series()["characters"]) == 0
    clock.now = 1001.0
    assert last(history.series()["characters"], 1) == [7]


def test_what_is_older_than_the_ring_is_forgotten(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1001.0
    history.add(1000.0, characters=50, tokens=5)
    clock.now = 1009.0
    assert sum(history.series()["characters"]) == 50
    clock.now = 1011.0
    assert sum(history.series()["characters"]) == 0


def test_an_answer_that_took_longer_than_the_ring_counts_at_its_rate(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1100.0
    history.add(1000.0, characters=1000, tokens=100)
    assert last(history.series()["characters"], 9) == [10] * 9


def test_answers_under_way_count_with_what_they_have(clock: Clock) -> None:
    history = History(clock, seconds=10)
    clock.now = 1001.0
    history.add(1000.0, characters=40, tokens=10)
    clock.now = 1003.0
    series = history.series({1001.0: 200})
    assert last(series["characters"], 3) == [40, 100, 100]
    assert last(series["tokens"], 3) == [10, 25, 25], "by the ratio of what is done"
    assert last(history.series()["characters"], 3) == [40, 0, 0], "they are not kept"


Answers = st.lists(
    st.tuples(st.floats(0, 8), st.integers(0, 10_000), st.integers(0, 1000)), max_size=20
)


@settings(deadline=None)
@given(Answers)
def test_nothing_is_lost_and_nothing_is_added(answers: list[tuple[float, int, int]]) -> None:
    clock = Clock()
    history = History(clock, seconds=60)
    for took_s, characters, tokens in answers:
        clock.now += 1.3
        history.add(clock.now - took_s, characters, tokens)
    clock.now += 1
    series = history.series()
    # Every second is told as a whole number.
    close: Callable[[int, int], bool] = lambda told, true: abs(told - true) <= 30  # noqa: E731
    assert close(sum(series["characters"]), sum(each[1] for each in answers))
    assert close(sum(series["tokens"]), sum(each[2] for each in answers))
