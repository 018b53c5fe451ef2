"""Owns the question whether the service's own deadlines end before a track's limits do."""

from __future__ import annotations

from launcher.checks.gateway_settings import GatewaySettings
from launcher.checks.result import Result, failure, ok, skipped, warning
from launcher.settings import LauncherSettings
from launcher.tracks import LIMITS, Track

PREDICT_NAME = "predict deadline"
HEALTH_NAME = "health budget"
MODE_NAME = "batch mode"
# The reply leaves within a second of the deadline; its way, and two clocks, need the rest.
PREDICT_ROOM_S = 5.0
# For the warm-up after the last start.
HEALTH_ROOM_S = 5.0


def check_predict(gateway: GatewaySettings, track: Track | None) -> Result:
    """Compare PREDICT_DEADLINE_S with the time that the evaluator waits."""
    deadline = gateway.predict_deadline_s
    told = f"PREDICT_DEADLINE_S={deadline:g}"
    if track is None:
        return skipped(PREDICT_NAME, f"{told}; a limit comes with --track")
    limit_s = LIMITS[track].predict_s
    limit = f"{limit_s:g} s of track {track.value}"
    advice = f"set PREDICT_DEADLINE_S={limit_s - 15:g}: late answers count as none"
    if deadline >= limit_s:
        return failure(PREDICT_NAME, told, advice, limit)
    if deadline > limit_s - PREDICT_ROOM_S:
        return warning(PREDICT_NAME, f"{told}: too little for the reply", advice, limit)
    return ok(PREDICT_NAME, f"{told}: {limit_s - deadline:g} s for the reply", limit)


def check_health(settings: LauncherSettings, track: Track | None) -> Result:
    """Compare HEALTH_BUDGET_S with the time that a track gives until `GET /` answers."""
    budget = settings.health_budget_s
    told = f"HEALTH_BUDGET_S={budget:g}"
    if track is None:
        return skipped(HEALTH_NAME, f"{told}; a limit comes with --track")
    limit_s = LIMITS[track].health_s
    limit = f"{limit_s:g} s of track {track.value}"
    advice = f"set HEALTH_BUDGET_S={limit_s - 10:g}"
    if budget == 0:
        return warning(
            HEALTH_NAME, f"{told}: failed starts are tried again without an end", advice, limit
        )
    if budget >= limit_s:
        return failure(HEALTH_NAME, told, advice, limit)
    if budget > limit_s - HEALTH_ROOM_S:
        return warning(HEALTH_NAME, f"{told}: too little for the warm-up", advice, limit)
    return ok(HEALTH_NAME, told, limit)


def check_mode(gateway: GatewaySettings) -> Result:
    """Say how the evaluator will ask."""
    if gateway.batch_mode:
        return ok(MODE_NAME, "BATCH_MODE=1: all questions in one request")
    return warning(
        MODE_NAME,
        "BATCH_MODE=0: the evaluator asks one question at a time, most of the card is idle",
        "set BATCH_MODE=1",
    )
