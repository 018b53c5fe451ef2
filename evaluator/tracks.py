"""Owns the time limits of the evaluator's tracks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Track(str, Enum):
    """A track of the course's evaluator, named after its hardware."""

    METAX = "metax"
    MTHREADS = "mthreads"
    PARATERA = "paratera"


@dataclass(frozen=True)
class Limits:
    """Seconds that each phase may take."""

    build_s: float
    health_s: float
    predict_s: float


LIMITS = {
    Track.METAX: Limits(build_s=900, health_s=180, predict_s=360),
    Track.MTHREADS: Limits(build_s=900, health_s=180, predict_s=360),
    Track.PARATERA: Limits(build_s=1500, health_s=420, predict_s=360),
}


def limits_of(
    track: Track,
    build_s: float | None = None,
    health_s: float | None = None,
    predict_s: float | None = None,
) -> Limits:
    """Return a track's limits; a value that is given replaces the track's own."""
    preset = LIMITS[track]
    return Limits(
        build_s=preset.build_s if build_s is None else build_s,
        health_s=preset.health_s if health_s is None else health_s,
        predict_s=preset.predict_s if predict_s is None else predict_s,
    )
