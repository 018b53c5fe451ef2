from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import (
    DEFAULT_RETRY_S,
    MAX_RETRY_S,
    WINDOW_S,
    Admission,
    DrainRate,
)
from gateway.errors import Overloaded


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


def test_prompts_are_open_while_the_block_runs() -> None:
    admission = Admission(10, Clock())
    with admission.admit(4), admission.admit(6):
        assert admission.num_open == 10
    assert admission.num_open == 0


def test_one_over_the_bound_is_refused_and_changes_nothing() -> None:
    admission = Admission(10, Clock())
    with admission.admit(4):
        with (
            pytest.raises(Overloaded, match="4 prompts are open and 7 more came"),
            admission.admit(7),
        ):
            raise AssertionError("admitted")
        assert admission.num_open == 4


def test_a_request_alone_is_taken_in_whatever_its_size() -> None:
    admission = Admission(10, Clock())
    with admission.admit(5000):
        assert admission.num_open == 5000


def test_answered_prompts_make_room_before_the_request_ends() -> None:
    admission = Admission(3, Clock())
    with admission.admit(3) as ticket:
        ticket.note_done()
        with admission.admit(1):
            assert admission.num_open == 3
    assert admission.num_open == 0


def test_an_error_gives_the_places_back() -> None:
    admission = Admission(3, Clock())
    with pytest.raises(ZeroDivisionError), admission.admit(3) as ticket:
        ticket.note_done()
        raise ZeroDivisionError
    assert admission.num_open == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20))))
def test_nothing_is_left_open_in_the_end(requests: list[tuple[int, int]]) -> None:
    admission = Admission(30, Clock())
    for prompts, done in requests:
        with admission.admit(prompts) as ticket:
            for _ in range(min(done, prompts)):
                ticket.note_done()
    assert admission.num_open == 0


def retry_after(admission: Admission, prompts: int) -> int:
    with pytest.raises(Overloaded) as raised, admission.admit(prompts):
        raise AssertionError("admitted")
    return raised.value.retry_after_s


def test_retry_after_is_the_excess_over_the_drain_rate() -> None:
    clock = Clock()
    admission = Admission(100, clock)
    with admission.admit(100) as ticket:
        assert retry_after(admission, 5) == DEFAULT_RETRY_S, "nothing measured yet"
        for _ in range(10):  # 2 a second
            clock.now += 1
            ticket.note_done()
            ticket.note_done()
        assert admission.rate.per_second() == 2.0
        assert admission.num_open == 80
        assert retry_after(admission, 21) == 1
        assert retry_after(admission, 60) == 20
        assert retry_after(admission, 5000) == 40, "all of it, and no more, has to go"


def test_retry_after_is_bounded() -> None:
    clock = Clock()
    admission = Admission(10_000, clock)
    with admission.admit(10_000) as ticket:
        ticket.note_done()
        clock.now += 20
        assert retry_after(admission, 10_000) == MAX_RETRY_S


def test_the_rate_forgets() -> None:
    clock = Clock()
    rate = DrainRate(clock)
    for _ in range(100):
        rate.note_done()
    assert rate.per_second() == 100
    clock.now += WINDOW_S - 1
    assert rate.per_second() == pytest.approx(100 / WINDOW_S)
    clock.now += 1
    assert rate.per_second() == 0
