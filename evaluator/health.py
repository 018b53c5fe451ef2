"""Owns the health phase: asks `GET /` until the service is healthy, or may not take longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from evaluator.client import Client, Mode, Sighting

# As a known clone of the evaluator does it.
INTERVAL_S = 0.5
LOOK_TIMEOUT_S = 2.0


@dataclass
class Health:
    """What the health phase found, filled while it runs."""

    mode: Mode | None = None
    problem: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    """How often what was seen before the service was healthy, in the order first seen."""


async def wait_until_healthy(
    client: Client,
    health: Health,
    deadline: float,
    *,
    find_end: Callable[[], str] = str,
    on_look: Callable[[], None] = lambda: None,
    interval_s: float = INTERVAL_S,
    look_timeout_s: float = LOOK_TIMEOUT_S,
) -> None:
    """Poll until healthy, the deadline (on anyio's clock), or the service's end; fill `health`.

    `find_end` says why waiting is in vain, "" as long as it is not.
    """
    last = "nothing yet"
    while anyio.current_time() < deadline:
        next_look = anyio.current_time() + interval_s
        sighting = Sighting(None, "timeout")
        with anyio.move_on_after(min(look_timeout_s, deadline - anyio.current_time())) as look:
            sighting = await client.look()
        if look.cancelled_caught and anyio.current_time() >= deadline and health.seen:
            break  # this look was given hardly any time: what came before tells more
        last = sighting.what
        if sighting.mode is not None:
            health.mode = sighting.mode
            return
        health.seen[sighting.what] = health.seen.get(sighting.what, 0) + 1
        on_look()
        health.problem = find_end()
        if health.problem:
            return
        await anyio.sleep_until(min(next_look, deadline))
    health.problem = f"not healthy within the limit; the last look saw: {last}"
