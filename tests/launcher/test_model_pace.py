"""How a download gets on, and when it is too slow."""

from __future__ import annotations

import logging

import pytest

from launcher.model_pace import Pace, kept

MB = 10**6


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def after(seconds: float, n_bytes: int, *, budget_s: float, left_bytes: int = 8000 * MB) -> Pace:
    clock = Clock()
    pace = Pace(left_bytes, budget_s, clock)
    clock.now_s += seconds
    pace.arrived(n_bytes)
    return pace


def test_the_progress_tells_rate_and_forecast() -> None:
    pace = after(100, 1000 * MB, budget_s=0)
    assert str(pace) == ("1.0 GB of 8.0 GB fetched in 100 s, 10.0 MB/s, 700 s (11.7 min) to go")


def test_the_end_tells_no_forecast() -> None:
    pace = after(100, 8000 * MB, budget_s=0)
    assert str(pace) == "8.0 GB of 8.0 GB fetched in 100 s, 80.0 MB/s"


def test_nothing_fetched_is_no_forecast() -> None:
    pace = after(5, 0, budget_s=60)
    assert str(pace).endswith("no forecast yet")
    assert pace.complaint() is None


def test_a_forecast_over_the_budget_is_complained_of_with_the_arithmetic() -> None:
    assert after(100, 500 * MB, budget_s=700).complaint() == (
        "too slow for MODEL_DOWNLOAD_BUDGET_S=700, of which 600 s are left: "
        "500.0 MB of 8.0 GB fetched in 100 s, 5.0 MB/s, 1500 s (25.0 min) to go"
    )


@pytest.mark.parametrize(
    ("seconds", "n_bytes", "budget_s"),
    [
        (100, 1000 * MB, 900),  # in time
        (100, 1000 * MB, 700),  # late by less than a fifth: it may still come right
        (29, 1 * MB, 700),  # too early to say
        (100, 8000 * MB, 99),  # late, but all is there
        (10_000, 1, 0),  # no budget
    ],
)
def test_what_may_still_come_in_time_goes_on(seconds: float, n_bytes: int, budget_s: float) -> None:
    assert after(seconds, n_bytes, budget_s=budget_s).complaint() is None


def test_a_budget_that_is_used_up_is_complained_of() -> None:
    complaint = after(700, 7900 * MB, budget_s=700).complaint()
    assert complaint is not None
    assert complaint.startswith("MODEL_DOWNLOAD_BUDGET_S=700 is used up: 7.9 GB of 8.0 GB")


def test_the_progress_is_logged_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "launcher")
    clock = Clock()
    pace = Pace(8000 * MB, 0, clock)
    for _ in range(25):
        clock.now_s += 1
        pace.arrived(10 * MB)
    assert [record.message.split(" of ")[0] for record in caplog.records] == [
        "100.0 MB",
        "200.0 MB",
    ]


def test_what_has_to_come_again_does_not_count() -> None:
    clock = Clock()
    pace = Pace(100 * MB, 0, clock)
    clock.now_s += 10
    pace.arrived(60 * MB)
    pace.arrived(-60 * MB)
    assert pace.remaining_s is None


def test_without_a_budget_nothing_is_watched() -> None:
    with kept(after(1000, 1, budget_s=0), "could not fetch it"):
        pass
