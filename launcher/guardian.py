"""Owns one engine from its start to its end: signals, log, state file, what is left of its group.

It decides nothing about the configuration: it runs the plan of the rung that its state names, once,
and its exit code tells supervisord whether another try makes sense.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping

import anyio
from anyio.abc import Process, TaskStatus

from launcher import process_group, scratch
from launcher.diagnosis import Diagnosis
from launcher.ending import restart_delay_s
from launcher.engine_port import wait_until_free
from launcher.engines.base import EnginePlan
from launcher.errors import CannotStart, LauncherError
from launcher.ladder import AS_CONFIGURED, Rung
from launcher.log_pump import LogPump
from launcher.log_tail import LineSplitter, redact_argv
from launcher.outcome import End, judge_end, tries
from launcher.overseer import DEFAULT_PACE, Overseer, Pace
from launcher.settings import LauncherSettings
from launcher.start_phases import StartPhases
from launcher.state import EngineState, StateFile, next_state, read_state

log = logging.getLogger(__name__)


async def run(
    settings: LauncherSettings,
    plan_engine: Callable[[Rung], Awaitable[EnginePlan]],
    pace: Pace = DEFAULT_PACE,
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
        plan_engine: Callable[[Rung], Awaitable[EnginePlan]],
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
        if previous is not None:
            scratch.remove(previous.scratch_dir)
        if process_group.stale_group(previous) is not None:
            log.error("some of its processes outlast SIGKILL")
        else:
            self._file.update(pid=None, leader_start_ticks=None, members=())
        self._file.update(scratch_dir="")
        await self._back_off()
        self._file.update(message="looking at hardware, model and engine")
        plan = await self._plan()
        host, port = self._settings.engine_host, self._settings.engine_port
        try:
            await wait_until_free(host, port, self._pace.port_wait_s)
        except CannotStart as exc:
            if process_group.stale_group(previous) is None:
                raise
            # A process that hangs in a driver ends some time: no reason to give up for good.
            raise LauncherError(f"{exc}, left of the engine before this one") from exc
        return plan

    async def _plan(self) -> EnginePlan:
        """Plan for the state's rung; for the first, if another configuration is asked for now."""
        state = self._file.state
        plan = await self._plan_engine(state.next_rung)
        if state.configuration and plan.configuration != state.configuration:
            log.info("the configuration has changed: forgetting failed starts")
            fresh = {"next_rung": AS_CONFIGURED, "ladder": (), "quick_ends": 0}
            self._file.update(**fresh, series_started_at=self._clock())
            if state.next_rung != AS_CONFIGURED:
                plan = await self._plan_engine(AS_CONFIGURED)
        self._file.update(configuration=plan.configuration)
        return plan

    async def _back_off(self) -> None:
        attempt = self._file.state.attempt
        delay_s = restart_delay_s(attempt, tries(self._file.state))
        if delay_s > 0:
            message = f"waiting {delay_s:g} s before start {attempt} in a row"
            log.info(message)
            self._file.update(message=message)
            await anyio.sleep(delay_s)

    async def _serve(self, plan: EnginePlan) -> int:
        folder = scratch.make()
        self._file.update(scratch_dir=str(folder or ""))
        try:
            end = await self._run_engine(plan, scratch.environment(plan.env, folder))
        finally:
            scratch.remove(self._file.state.scratch_dir)
        return self._ended(plan, end)

    async def _run_engine(self, plan: EnginePlan, environ: Mapping[str, str]) -> End:
        output, engine_output = os.pipe()
        try:
            process = await process_group.start(plan.argv, environ, engine_output, plan.working_dir)
        except OSError as exc:
            os.close(output)
            raise LauncherError(f"cannot start a process: {exc}") from exc
        finally:
            os.close(engine_output)
        try:
            self._started(plan, process.pid)
            return await self._run_to_end(plan, process, output)
        except BaseException:
            # Never leave without the engine, whatever went wrong in here.
            with anyio.CancelScope(shield=True):
                await process_group.kill_group(process.pid)
                await process.wait()
            raise
        finally:
            os.close(output)

    def _started(self, plan: EnginePlan, pid: int) -> None:
        rung = self._file.state.next_rung
        log.info("starting %s%s", plan.title, f", {rung}" if rung != AS_CONFIGURED else "")
        leader = process_group.read_stat(pid)
        self._file.update(
            phase="starting",
            message=f"starting {plan.title}",
            engine=plan.engine,
            pid=pid,
            leader_start_ticks=leader.start_ticks if leader is not None else None,
            argv=redact_argv(plan.argv),
            started_at=self._clock(),
            start_phases={},
            rung=plan.rung,
            dropped=plan.dropped,
            accelerator=plan.accelerator,
            versions=dict(plan.versions),
            model_dir=plan.model_dir,
        )

    async def _run_to_end(self, plan: EnginePlan, process: Process, output: int) -> End:
        """Return how it ended once nothing of its group is left."""
        key = self._settings.engine_api_key
        splitter = LineSplitter([key.get_secret_value()] if key is not None else [])
        diagnosis = Diagnosis(plan.read_symptom)
        phases = StartPhases(self._file.state.started_at or self._clock())
        overseer = Overseer(self._settings, plan, process.pid, self._file, self._pace, phases)

        def keep(lines: list[str]) -> None:
            if self._file.state.phase == "starting":
                phases.feed(lines, self._clock())
            self._file.add_log_lines(lines)
            diagnosis.feed(lines)
            overseer.read(lines)

        pump = LogPump(output, splitter, keep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._file.keep_up)
            tasks.start_soon(pump.run)
            tasks.start_soon(overseer.run, self._stop_requested.is_set, self._clock)
            tasks.start_soon(self._pass_on_stop, process, plan.is_wrapper)
            returncode = await process.wait()
            # A wrapper's 0 tells nothing of what it had started.
            returncode = returncode or int(plan.is_wrapper)
            grace_s = self._pace.leftover_grace_s if returncode >= 0 else 0.0
            if not await process_group.kill_group(process.pid, grace_s):
                log.error("some of the engine's processes outlast SIGKILL")
            await pump.wait_until_drained(self._pace.drain_s)
            tasks.cancel_scope.cancel()
        return End(returncode, self._clock(), diagnosis.symptom, overseer.killed_because)

    async def _pass_on_stop(self, process: Process, is_wrapper: bool) -> None:
        await self._stop_requested.wait()
        log.info("stopping")
        self._file.update(phase="stopping", message=f"told to stop by {self._stop_signal.name}")
        if process.returncode is None:  # or its number may be another's by now
            process_group.terminate(process.pid, is_wrapper=is_wrapper)
        await anyio.sleep(self._settings.engine_stop_timeout_s)
        log.warning("not ended after %g s: killing it", self._settings.engine_stop_timeout_s)
        await process_group.kill_group(process.pid)

    def _ended(self, plan: EnginePlan, end: End) -> int:
        outcome = judge_end(self._file.state, plan, self._settings, end)
        # Those that outlast SIGKILL, as a process does that hangs in a driver: the next one waits.
        pid = self._file.state.pid
        left = process_group.members(pid) if pid is not None else ()
        self._file.update(last_exit=outcome.last_exit, members=process_group.as_members(left))
        if self._stop_requested.is_set():
            return self._stopped()
        self._file.update(**outcome.changes)
        if outcome.exit_code == CannotStart.exit_code:
            return self._failed(outcome.message, outcome.exit_code)
        lines = outcome.last_exit.log_lines
        log.error("%s; last lines:\n%s", outcome.message, "\n".join(f"  {x}" for x in lines))
        self._file.update(phase="exited", message=outcome.message)
        return outcome.exit_code

    def _stopped(self) -> int:
        log.info("stopped")
        self._file.update(phase="stopped", message=f"stopped by {self._stop_signal.name}")
        return 128 + self._stop_signal

    def _failed(self, message: str, exit_code: int) -> int:
        log.error("cannot start: %s", message)
        phase = "failed" if exit_code == CannotStart.exit_code else "exited"
        self._file.update(phase=phase, message=message.partition("\n")[0])
        return exit_code
