"""Owns the wait for a starting engine: asks its health route, tells how it gets on."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from launcher.engine_port import is_healthy

log = logging.getLogger(__name__)


async def wait_until_ready(
    base_url: str,
    health_path: str,
    *,
    poll_s: float,
    progress_s: float,
    is_stopping: Callable[[], bool],
    last_log_line: Callable[[], str],
    on_poll: Callable[[], None],
) -> bool:
    """Wait for health; False when told to stop before. Cancelled, by the caller, if it dies."""
    begin = anyio.current_time()
    told_s = 0.0
    while not is_stopping():
        is_ready = await is_healthy(base_url, health_path)
        on_poll()
        if is_ready:
            return not is_stopping()
        waited_s = anyio.current_time() - begin
        if waited_s >= told_s + progress_s:
            told_s = waited_s
            log.info("starting, %.0f s: %s", waited_s, last_log_line())
        await anyio.sleep(poll_s)
    return False
