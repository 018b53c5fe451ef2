"""Owns the commands given with --build and --start: their processes, their time, their output.

A command runs in a session of its own, so that Ctrl-C does not reach it before its turn, and
nothing that it started is left when it has been stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from evaluator import processes

# A supervisor stops its programs one after the other, each with a grace of its own.
STOP_GRACE_S = 60.0
TAIL_LINES = 20
_TAIL_BYTES = 64 * 1024
_POLL_S = 0.05
# SIGKILL takes effect when a process next leaves the kernel; a driver call may hold it.
_KILL_TIMEOUT_S = 10.0


class CannotRun(Exception):
    """A command could not be started at all; the message says why."""


@dataclass(frozen=True)
class LogTail:
    """The last lines of a command's output, and where the rest is."""

    path: Path
    lines: tuple[str, ...]


class Command:
    """A shell command under way; its output goes to a file."""

    def __init__(self, command: str, log: Path) -> None:
        self.log = log
        self._mark = uuid.uuid4().hex
        self._family: list[processes.Process] = []
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, processes.MARK: self._mark},
                    start_new_session=True,
                )
        except OSError as exc:
            raise CannotRun(f"cannot run `{command}` with its output in {log}: {exc}") from exc
        self.started_at = anyio.current_time()

    @property
    def exit_code(self) -> int | None:
        """The command's exit code, minus a signal's number; None while it runs."""
        return self._process.poll()

    def find_failure(self) -> str:
        """Say how the command ended, "" while it runs or when it ended well.

        A command that ends well may have handed the service to a daemon.
        """
        code = self.exit_code
        if not code:
            return ""
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def wait(self) -> None:
        """Wait for the command's end."""
        while self.exit_code is None:  # noqa: ASYNC110 - a child's end is no event
            await anyio.sleep(_POLL_S)

    async def stop(
        self, grace_s: float = STOP_GRACE_S, is_urgent: Callable[[], bool] = lambda: False
    ) -> None:
        """Ask everything that the command started to end, then kill what is still there.

        Kills at once when `is_urgent`.
        """
        told: set[processes.Identity] = set()
        if self._is_there() and not self._family:  # a system without /proc
            self._signal_group(signal.SIGTERM)
        deadline = anyio.current_time() + grace_s
        while self._is_there() and anyio.current_time() < deadline and not is_urgent():
            self._ask_to_end(told)
            await anyio.sleep(_POLL_S)
        deadline = anyio.current_time() + _KILL_TIMEOUT_S
        while self._is_there() and anyio.current_time() < deadline:
            self._signal_group(signal.SIGKILL)
            processes.send(signal.SIGKILL, self._family)
            await anyio.sleep(_POLL_S)

    def _is_there(self) -> bool:
        is_running = self.exit_code is None
        known = [process.identity for process in self._family]
        self._family = processes.find_family(self._mark, known)
        return is_running or bool(self._family)

    def _signal_group(self, number: signal.Signals) -> None:
        # Once the leader has been waited for, the group's number may be somebody else's.
        if self.exit_code is None:
            os.killpg(self._process.pid, number)

    def _ask_to_end(self, told: set[processes.Identity]) -> None:
        """Send SIGTERM once: to the command's group, and to what has left it and has no parent.

        What has a parent is left to it: a supervisor ends its programs in its own way, and an
        engine that gets the signal twice breaks off its cleaning up.
        """
        group = [process for process in self._family if process.group == self._process.pid]
        for process in [*group, *processes.heads_of(self._family)]:
            if process.identity not in told:
                processes.send(signal.SIGTERM, [process])
                told.add(process.identity)

    def tail(self) -> LogTail:
        """Return the end of the output so far."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
        told = [line.rstrip() for line in lines if line.strip()]
        return LogTail(self.log, tuple(told[-TAIL_LINES:]))


@asynccontextmanager
async def running(
    command: str,
    log: Path,
    *,
    grace_s: float = STOP_GRACE_S,
    is_urgent: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Command]:
    """Run a command for the length of a block; raises CannotRun."""
    process = Command(command, log)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop(grace_s, is_urgent)
