"""Owns the question whether the gateway and the engine could listen where they are to."""

from __future__ import annotations

from launcher.checks.result import Result, failure, ok, warning
from launcher.engine_port import wait_until_free
from launcher.errors import CannotStart
from launcher.settings import LauncherSettings
from launcher.tracks import Track

NAME = "ports"
# What every track's evaluator asks.
EVALUATOR_PORT = 8000


async def problems(settings: LauncherSettings) -> list[str]:
    """Return why a port of this machine could not be listened on, now."""
    found = []
    for name, host, port in (
        ("GATEWAY_PORT", "0.0.0.0", settings.gateway_port),
        ("ENGINE_PORT", settings.engine_host, settings.engine_port),
    ):
        try:
            await wait_until_free(host, port, 0)
        except CannotStart as exc:
            found.append(f"{name}={port}: {str(exc).partition(': ')[2]}")
    return found


def check(settings: LauncherSettings, found: list[str], track: Track | None) -> Result:
    """Judge the two ports; for a track, that they are the ones its evaluator asks."""
    gateway, engine = settings.gateway_port, settings.engine_port
    told = f"gateway {gateway}, engine {engine}"
    if gateway == engine:
        return failure(NAME, f"{told}: the same", "give ENGINE_PORT another number")
    if track is not None and gateway != EVALUATOR_PORT:
        return failure(
            NAME, told, "leave GATEWAY_PORT at its default", f"the evaluator asks {EVALUATOR_PORT}"
        )
    if track is not None:
        return ok(NAME, told, f"the evaluator asks {EVALUATOR_PORT}")
    if found:
        return warning(
            NAME, "; ".join(found), "stop what listens there, unless it is this service itself"
        )
    return ok(NAME, f"{told}: free")
