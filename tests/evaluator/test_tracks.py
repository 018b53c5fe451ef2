from __future__ import annotations

import pytest

from evaluator.tracks import Limits, Track, limits_of


@pytest.mark.parametrize(
    ("track", "limits"),
    [
        (Track.METAX, Limits(900, 180, 360)),
        (Track.MTHREADS, Limits(900, 180, 360)),
        (Track.PARATERA, Limits(1500, 420, 360)),
    ],
)
def test_limits_are_those_of_the_track(track: Track, limits: Limits) -> None:
    assert limits_of(track) == limits


def test_each_limit_can_be_replaced() -> None:
    assert limits_of(Track.METAX, build_s=1) == Limits(1, 180, 360)
    assert limits_of(Track.METAX, health_s=2) == Limits(900, 2, 360)
    assert limits_of(Track.METAX, predict_s=3) == Limits(900, 180, 3)
