import pytest

from launcher.checks import build_time
from launcher.checks.result import Result, Status
from launcher.tracks import LIMITS, MACHINES, Track

GB = 10**9


def plan(gb: float | None, limit_s: float | None = 900, bandwidth: float = 100) -> Result:
    n_bytes = None if gb is None else int(gb * GB)
    return build_time.check(n_bytes, origin="as given", bandwidth_mbit_s=bandwidth, limit_s=limit_s)


def test_8_gb_fit_and_the_minutes_are_shown() -> None:
    row = plan(8)
    assert row.status is Status.OK
    assert "677 s (11.3 min)" in row.observed
    assert "163 s (2.7 min) left" in row.observed
    assert row.limit == "900 s (15.0 min)"


def test_14_gb_break_the_limit_by_the_download_alone() -> None:
    row = plan(14)
    assert row.status is Status.FAILURE
    assert "at 100 Mbit/s" in row.observed
    assert "the download alone breaks 900 s" in row.observed
    assert row.advice


def test_pip_can_be_what_breaks_it() -> None:
    row = plan(10)
    assert row.status is Status.FAILURE
    assert "too long" in row.observed
    assert "alone" not in row.observed


def test_little_that_is_left_is_a_warning() -> None:
    assert plan(9.5).status is Status.WARNING


@pytest.mark.parametrize(("bandwidth", "status"), [(1000, Status.OK), (50, Status.FAILURE)])
def test_the_bandwidth_counts(bandwidth: float, status: Status) -> None:
    assert plan(8, bandwidth=bandwidth).status is status


def test_without_a_limit_the_plan_is_told() -> None:
    row = plan(8, None)
    assert row.status is Status.OK
    assert "11.3 min" in row.observed


def test_an_unknown_size_is_no_failure() -> None:
    row = build_time.check(None, origin="the hub is away", bandwidth_mbit_s=100, limit_s=900)
    assert row.status is Status.SKIPPED
    assert "the hub is away" in row.observed
    assert "--model-size" in row.advice


def test_what_is_trained_is_not_downloaded() -> None:
    row = build_time.check(0, origin="none: trained", bandwidth_mbit_s=100, limit_s=900)
    assert row.observed.startswith("download none: trained, pip")


def test_14_gb_fit_where_the_build_may_take_longer() -> None:
    limit_s = LIMITS[Track.PARATERA].build_s
    assert plan(14, limit_s, MACHINES[Track.PARATERA].bandwidth_mbit_s).status is Status.OK
