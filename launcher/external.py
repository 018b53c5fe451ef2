"""Owns the look at an engine that somebody else runs: it starts, kills and replaces nothing.

What supervisord runs as `engine` with ENGINE=external; the state file tells what is seen.
"""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

from launcher.engine_port import ask_status
from launcher.engines.triton import GENERATE
from launcher.errors import CannotStart
from launcher.settings import LauncherSettings
from launcher.state import StateFile, next_state, read_state

log = logging.getLogger(__name__)

# A server that lacks the first answers the second, where chats are its business.
HEALTH_PATHS = ("/health", "/v1/models")
_NO_SUCH_ROUTE = (404, 405)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")


async def run(settings: LauncherSettings, clock: Callable[[], float] = time.time) -> int:
    """Look on until signal N (SIGTERM, SIGINT) tells us to stop; return 128 + N."""
    path = settings.engine_state_file
    file = StateFile(path, next_state(read_state(path), clock()))
    if not file.try_lock():
        log.error("cannot start: another launcher runs the engine of %s", path)
        return CannotStart.exit_code
    stopped_by = signal.SIGTERM
    try:
        async with anyio.create_task_group() as tasks:

            async def wait_for_stop(*, task_status: TaskStatus[None]) -> None:
                nonlocal stopped_by
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    task_status.started()
                    stopped_by = await anext(aiter(signals))
                tasks.cancel_scope.cancel()

            await tasks.start(wait_for_stop)
            await _look_on(settings, file, clock)
        log.info("stopped looking; the engine goes on")
        file.update(phase="stopped", message=f"stopped by {stopped_by.name}")
    finally:
        file.close()
    return 128 + stopped_by


async def _look_on(settings: LauncherSettings, file: StateFile, clock: Callable[[], float]) -> None:
    where = _CREDENTIALS.sub("", settings.engine_url)
    told = ""
    file.update(
        phase="external",
        engine="external",
        started_at=clock(),
        message=f"looking at {where}",
        accelerator=f"somewhere else: {where}",
    )
    while True:
        status = await _health(settings)
        seen = _describe(where, status)
        if seen != told:
            log.info(seen)
            ready_at = clock() if status == 200 else None
            file.update(message=seen, ready_at=ready_at, is_proven=status == 200)
            told = seen
        await anyio.sleep(settings.watchdog_interval_s)


async def _health(settings: LauncherSettings) -> int | None:
    """Return the status of the first health route that is there; None without any answer."""
    key = settings.engine_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
    status = None
    for path in _paths(settings):
        status = await ask_status(settings.engine_url, path, settings.watchdog_silent_s, headers)
        if status not in _NO_SUCH_ROUTE:
            return status
    return status


def _paths(settings: LauncherSettings) -> tuple[str, ...]:
    if settings.engine_health_path:
        return (settings.engine_health_path,)
    return (GENERATE.health_path,) if settings.engine_api == "generate" else HEALTH_PATHS


def _describe(where: str, status: int | None) -> str:
    if status == 200:
        return f"the engine at {where} answers"
    told = "does not answer" if status is None else f"answers its health route with {status}"
    return f"the engine at {where} {told}"
