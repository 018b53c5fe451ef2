"""Owns one engine from its start to its end: signals, log, state file, what is left of its group.

It decides nothing about the configuration: it runs the plan that it is given, once, and its exit
code tells supervisord whether another try makes sense. Not here yet, but meant to go in: a watchdog
(`_watch`, once the engine runs) and other plans after a failed start (`plan_engine`, by `attempt`).
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio.abc import Process, TaskStatus

from launcher import process_group
from launcher.ending import describe_exit, rejected_argument, restart_delay_s
from launcher.engine_port import wait_until_free
from launcher.engines.base import EnginePlan
from launcher.errors import CannotStart, LauncherError
from launcher.log_pump import LogPump
from launcher.log_tail import LineSplitter, redact_argv
from launcher.settings import LauncherSettings
from launcher.startup import wait_until_ready
from launcher.state import EngineState, StateFile, next_state, read_state

log = logging.getLogger(__name__)


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


async def run(
    settings: LauncherSettings,
    plan_engine: Callable[[], Awaitable[EnginePlan]],
    pace: Pace = Pace(),
    clock: Callable[[], float] = time.time,
) -> int:
    """Run one engine until it ends or this process is told to stop; return the exit code.

    1: the engine ended, by any cause, also with 0. 3: it cannot start as configured.
    128 + N: signal N (SIGTERM, SIGINT) told us to stop.
    """
    path = settings.engine_state_file
    previous = read_state(path)
    file = StateFile(path, next_state(previous, clock()))
    if not file.try_lock():
        log.error("cannot start: another launcher runs the engine of %s", path)
        return CannotStart.exit_code
    try:
        guardian = Guardian(settings, plan_engine, file, pace, clock)
        async with anyio.create_task_group() as tasks:
            await tasks.start(guardian.watch_signals)
            exit_code = await guardian.guard(previous)
            tasks.cancel_scope.cancel()
    finally:
        file.close()
    return exit_code


class Guardian:
    """One start of one engine."""

    def __init__(
        self,
        settings: LauncherSettings,
        plan_engine: Callable[[], Awaitable[EnginePlan]],
        file: StateFile,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._plan_engine = plan_engine
        self._file = file
        self._pace = pace
        self._clock = clock
        self._preparation = anyio.CancelScope()
        self._stop_requested = anyio.Event()
        self._stop_signal = signal.SIGTERM

    async def watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        """Turn the first SIGTERM or SIGINT into a stop; later ones change nothing.

        A second SIGTERM would make vLLM abort its clean-up.
        """
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for signum in signals:
                if not self._stop_requested.is_set():
                    self._stop_signal = signum
                    self._stop_requested.set()
                    self._preparation.cancel()

    async def guard(self, previous: EngineState | None) -> int:
        """Prepare, run and clear up after the engine; return the exit code."""
        plan = None
        try:
            with self._preparation:
                plan = await self._prepare(previous)
            if plan is None or self._stop_requested.is_set():
                return self._stopped()
            return await self._serve(plan)
        except LauncherError as exc:
            return self._failed(str(exc), exc.exit_code)

    async def _prepare(self, previous: EngineState | None) -> EnginePlan:
        self._file.update(phase="preparing")
        if await process_group.kill_stale(previous):
            log.warning("killed the engine that a killed launcher left behind")
        await self._back_off()
        self._file.update(message="looking at hardware, model and engine")
        plan = await self._plan_engine()
        host, port = self._settings.engine_host, self._settings.engine_port
        await wait_until_free(host, port, self._pace.port_wait_s)
        return plan

    async def _back_off(self) -> None:
        attempt = self._file.state.attempt
        delay_s = restart_delay_s(attempt)
        if delay_s > 0:
            message = f"waiting {delay_s:g} s before start {attempt} in a row"
            log.info(message)
            self._file.update(message=message)
            await anyio.sleep(delay_s)

    async def _serve(self, plan: EnginePlan) -> int:
        output, engine_output = os.pipe()
        try:
            process = await process_group.start(plan.argv, plan.env, engine_output)
        except OSError as exc:
            os.close(output)
            raise LauncherError(f"cannot start a process: {exc}") from exc
        finally:
            os.close(engine_output)
        try:
            self._started(plan, process.pid)
            returncode = await self._run_to_end(plan, process, output)
        except BaseException:
            # Never leave without the engine, whatever went wrong in here.
            with anyio.CancelScope(shield=True):
                await process_group.kill_group(process.pid)
                await process.wait()
            raise
        finally:
            os.close(output)
        return self._ended(returncode)

    def _started(self, plan: EnginePlan, pid: int) -> None:
        log.info("starting %s", plan.title)
        leader = process_group.read_stat(pid)
        self._file.update(
            phase="starting",
            message=f"starting {plan.title}",
            pid=pid,
            leader_start_ticks=leader.start_ticks if leader is not None else None,
            argv=redact_argv(plan.argv),
            started_at=self._clock(),
            rung=plan.rung,
            dropped=plan.dropped,
            accelerator=plan.accelerator,
            versions=dict(plan.versions),
            model_dir=plan.model_dir,
        )

    async def _run_to_end(self, plan: EnginePlan, process: Process, output: int) -> int:
        """Return the leader's return code once nothing of its group is left."""
        key = self._settings.engine_api_key
        splitter = LineSplitter([key.get_secret_value()] if key is not None else [])
        pump = LogPump(output, splitter, self._file.add_log_lines)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._file.keep_up)
            tasks.start_soon(pump.run)
            tasks.start_soon(self._watch, plan, process.pid)
            tasks.start_soon(self._pass_on_stop, process)
            returncode = await process.wait()
            grace_s = self._pace.leftover_grace_s if returncode >= 0 else 0.0
            if not await process_group.kill_group(process.pid, grace_s):
                log.error("some of the engine's processes outlast SIGKILL")
            await pump.wait_until_drained(self._pace.drain_s)
            tasks.cancel_scope.cancel()
        return returncode

    async def _watch(self, plan: EnginePlan, pid: int) -> None:
        """Follow the start to health, then to proof."""
        is_ready = await wait_until_ready(
            plan.base_url,
            plan.health_path,
            poll_s=self._pace.poll_s,
            progress_s=self._pace.progress_s,
            is_stopping=self._stop_requested.is_set,
            last_log_line=lambda: next(reversed(self._file.state.log_lines), "no output yet"),
            on_poll=lambda: self._note_members(pid),
        )
        if not is_ready:
            return
        ready_at = self._clock()
        message = f"ready after {ready_at - self._started_at:.1f} s"
        log.info(message)
        self._file.update(phase="running", message=message, ready_at=ready_at)
        await anyio.sleep(self._pace.proven_s)
        self._note_members(pid)
        self._file.update(is_proven=True)

    def _note_members(self, pid: int) -> None:
        """Tell the next launcher, in case this one is killed, which processes are the engine's."""
        members = process_group.as_members(process_group.members(pid))
        if members != self._file.state.members:
            self._file.update(members=members)

    async def _pass_on_stop(self, process: Process) -> None:
        await self._stop_requested.wait()
        log.info("stopping")
        self._file.update(phase="stopping", message=f"told to stop by {self._stop_signal.name}")
        with suppress(ProcessLookupError):  # it ended a moment ago
            process.terminate()
        await anyio.sleep(self._settings.engine_stop_timeout_s)
        log.warning("not ended after %g s: killing it", self._settings.engine_stop_timeout_s)
        await process_group.kill_group(process.pid)

    @property
    def _started_at(self) -> float:
        return self._file.state.started_at or 0.0

    def _ended(self, returncode: int) -> int:
        lines = self._file.state.log_lines
        now = self._clock()
        last_exit = describe_exit(returncode, lines, now, now - self._started_at)
        self._file.update(last_exit=last_exit, members=())
        if self._stop_requested.is_set():
            return self._stopped()
        if (rejection := rejected_argument(returncode, lines)) is not None:
            message = f"the engine rejects its arguments: {rejection}"
            return self._failed(message, CannotStart.exit_code)
        message = f"ended by {last_exit.reason} after {last_exit.lived_s:.0f} s"
        log.error("%s; last lines:\n%s", message, "\n".join(f"  {x}" for x in last_exit.log_lines))
        self._file.update(phase="exited", message=message)
        return LauncherError.exit_code

    def _stopped(self) -> int:
        log.info("stopped")
        self._file.update(phase="stopped", message=f"stopped by {self._stop_signal.name}")
        return 128 + self._stop_signal

    def _failed(self, message: str, exit_code: int) -> int:
        log.error("cannot start: %s", message)
        phase = "failed" if exit_code == CannotStart.exit_code else "exited"
        self._file.update(phase=phase, message=message.partition("\n")[0])
        return exit_code
