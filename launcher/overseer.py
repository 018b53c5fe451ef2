"""Owns one engine process while it runs: follows it to health and to proof, kills it when it hangs.

It does not start it, and does not see it end.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import anyio

from launcher import process_group
from launcher.engines.base import EnginePlan
from launcher.settings import LauncherSettings
from launcher.start_phases import StartPhases
from launcher.startup import wait_until_ready
from launcher.state import StateFile
from launcher.watchdog import Patience, Watchdog

log = logging.getLogger(__name__)


DEAD = "dead: its own log says so"


@dataclass(frozen=True)
class Pace:
    """How often and how long the guardian looks."""

    poll_s: float = 0.5
    progress_s: float = 10.0
    # A start that leads to this much health was none of a series of failed ones.
    proven_s: float = 60.0
    port_wait_s: float = 5.0
    # Time for the leader's children to end by themselves, as they do after a clean exit.
    leftover_grace_s: float = 1.0
    drain_s: float = 2.0


DEFAULT_PACE = Pace()


class Overseer:
    """Follows the engine whose group `pid` leads."""

    def __init__(
        self,
        settings: LauncherSettings,
        plan: EnginePlan,
        pid: int,
        file: StateFile,
        pace: Pace,
        phases: StartPhases,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._pid = pid
        self._file = file
        self._pace = pace
        self._phases = phases
        self._has_died = anyio.Event()
        self.killed_because = ""
        """Why it was killed from here; empty when it was not."""

    def read(self, lines: Iterable[str]) -> None:
        """Look for news of the engine's death in new lines of its log.

        vLLM 0.32, whose core was killed under 256 streams, wrote tracebacks for 10 to 40 s before
        it ended: nothing comes of waiting for that.
        """
        if not self._has_died.is_set() and any(self._plan.tells_death(line) for line in lines):
            self._has_died.set()

    async def run(self, is_stopping: Callable[[], bool], clock: Callable[[], float]) -> None:
        """Follow the engine until this is cancelled, by the caller, when it has ended."""
        why = await self._find_fault(is_stopping, clock)
        # One that is being stopped has its own limit.
        if why is not None and not is_stopping():
            self.killed_because = why
            log.error("%s: killing it", why)
            self._file.update(message=f"{why}: killing it")
            await process_group.kill_group(self._pid)

    async def _find_fault(
        self, is_stopping: Callable[[], bool], clock: Callable[[], float]
    ) -> str | None:
        """Return why it must be killed; None when it is being stopped."""
        limit_s = self._settings.engine_start_timeout_s
        with anyio.move_on_after(limit_s) as limit:
            if not await self._wait_until_ready(is_stopping):
                return None
        if limit.cancelled_caught:
            return f"not healthy within {limit_s:g} s"
        self._note_ready(clock())
        return await self._first_verdict()

    async def _first_verdict(self) -> str:
        verdicts: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def take(judge: Callable[[], Awaitable[str]]) -> None:
                verdicts.append(await judge())
                tasks.cancel_scope.cancel()

            tasks.start_soon(self._wait_until_proven)
            tasks.start_soon(take, self._watch)
            tasks.start_soon(take, self._wait_for_death)
        return verdicts[0]

    async def _wait_for_death(self) -> str:
        await self._has_died.wait()
        return DEAD

    async def _wait_until_ready(self, is_stopping: Callable[[], bool]) -> bool:
        return await wait_until_ready(
            self._plan.base_url,
            self._plan.health_path,
            poll_s=self._pace.poll_s,
            progress_s=self._pace.progress_s,
            is_stopping=is_stopping,
            last_log_line=lambda: next(reversed(self._file.state.log_lines), "no output yet"),
            on_poll=self._note_progress,
        )

    def _note_ready(self, ready_at: float) -> None:
        started_at = self._file.state.started_at or ready_at
        message = f"ready after {ready_at - started_at:.1f} s"
        phases = self._phases.seconds(ready_at)
        log.info("%s: %s", message, ", ".join(f"{name} {s:.1f} s" for name, s in phases.items()))
        self._file.update(phase="running", message=message, ready_at=ready_at, start_phases=phases)

    async def _wait_until_proven(self) -> None:
        await anyio.sleep(self._pace.proven_s)
        self._note_members()
        self._file.update(is_proven=True)

    async def _watch(self) -> str:
        settings = self._settings
        if not settings.watchdog:
            await anyio.sleep_forever()
        patience = Patience(
            interval_s=settings.watchdog_interval_s,
            stall_s=settings.watchdog_stall_s,
            silent_s=settings.watchdog_silent_s,
            canary_s=settings.watchdog_canary_s,
        )
        return await Watchdog(self._plan, patience, self._cpu_s).watch()

    def _cpu_s(self) -> float:
        # An accelerator's engine also spins while it waits.
        return process_group.cpu_s(self._pid) if self._plan.is_on_cpu else 0.0

    def _note_progress(self) -> None:
        self._note_members()
        self._note_phases()

    def _note_phases(self) -> None:
        """Tell where a start is that takes long, while it is under way."""
        phases = self._phases.seconds()
        if phases != self._file.state.start_phases:
            self._file.update(start_phases=phases)

    def _note_members(self) -> None:
        """Tell the next launcher, in case this one is killed, which processes are the engine's."""
        members = process_group.as_members(process_group.members(self._pid))
        if members != self._file.state.members:
            self._file.update(members=members)
