"""Owns the engine's state file: its fields, how it is written and read. A file is the interface.

It never raises because of the file: serving matters more than reporting.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Any, Literal, TextIO

import anyio
import msgspec

from launcher.atomic_file import replace_file
from launcher.ladder import AS_CONFIGURED, Rung, Step

log = logging.getLogger(__name__)

# external: somebody else runs the engine, and it is only looked at.
Phase = Literal[
    "preparing", "starting", "running", "stopping", "stopped", "exited", "failed", "external"
]

# Log lines come by the hundred while a model loads; nobody reads the file that often.
WRITE_INTERVAL_S = 0.5
MAX_LOG_LINES = 40
# Of these, with how an engine ended.
LAST_LOG_LINES = 15


class Exit(msgspec.Struct, frozen=True, omit_defaults=False):
    """How an engine ended. `code` or `signal` is None; both, when nobody saw it end."""

    code: int | None
    signal: int | None
    at: float
    lived_s: float
    reason: str
    log_lines: tuple[str, ...] = ()


class Member(msgspec.Struct, frozen=True):
    """A process of the engine's group; the start time tells it from a later one of that pid."""

    pid: int
    start_ticks: int


class EngineState(msgspec.Struct, frozen=True):
    """What the launcher knows about its engine. Times are unix seconds."""

    phase: Phase = "preparing"
    # Why it is in this phase, on one line.
    message: str = ""
    # Which kind of engine it is, as ENGINE says it; empty until that is known.
    engine: str = ""
    # The leader of the engine's process group, whose id is the group's.
    pid: int | None = None
    leader_start_ticks: int | None = None
    members: tuple[Member, ...] = ()
    guardian_pid: int | None = None
    # Of the engine's temporary files; empty when there is none.
    scratch_dir: str = ""
    # Pids and ticks count from a boot.
    boot_id: str = ""
    # Consecutive starts of an engine that did not prove itself; the first is 1.
    attempt: int = 1
    # It has been healthy for long enough that its end is no failed start.
    is_proven: bool = False
    argv: tuple[str, ...] = ()
    started_at: float | None = None
    ready_at: float | None = None
    # Seconds of each phase of the start so far, in order, as far as the engine's log tells.
    start_phases: dict[str, float] = {}
    # Which configuration runs; which is to run next, if this one ends; how it came to that.
    rung: str = AS_CONFIGURED.name
    next_rung: Rung = AS_CONFIGURED
    ladder: tuple[Step, ...] = ()
    # Ends after health but before proof, in a row, on this rung.
    quick_ends: int = 0
    # When the first start of the series began that has led to no proof yet.
    series_started_at: float | None = None
    # Of the configuration that was asked for.
    configuration: str = ""
    dropped: tuple[str, ...] = ()
    accelerator: str = ""
    versions: dict[str, str] = {}
    model_dir: str = ""
    last_exit: Exit | None = None
    log_lines: tuple[str, ...] = ()


def read_state(path: Path) -> EngineState | None:
    """Read a state file; None when it is not there or is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=EngineState)
    except (OSError, msgspec.DecodeError):
        return None


class StateFile:
    """The state, and the file that follows it."""

    def __init__(self, path: Path, state: EngineState) -> None:
        self.state = state
        self._path = path
        self._is_behind = False
        self._has_failed = False
        self._lock: TextIO | None = None

    def update(self, **changes: Any) -> None:
        """Change fields and write at once."""
        self.state = msgspec.structs.replace(self.state, **changes)
        self._write()

    def add_log_lines(self, lines: list[str]) -> None:
        """Add to the tail of the log; `keep_up` writes it."""
        tail = (*self.state.log_lines, *lines)[-MAX_LOG_LINES:]
        self.state = msgspec.structs.replace(self.state, log_lines=tail)
        self._is_behind = True

    async def keep_up(self) -> None:
        """Write new log lines every half second, until cancelled."""
        while True:
            await anyio.sleep(WRITE_INTERVAL_S)
            if self._is_behind:
                self._write()

    def try_lock(self) -> bool:
        """Claim the file until this process ends; False when another process has it.

        True too when no lock can be had at all (a read-only folder).
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._path.with_name(f"{self._path.name}.lock").open("a")
        except OSError:
            return True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return False
        except OSError:
            pass  # a file system without locks
        return True

    def close(self) -> None:
        """Give the claim back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write(self) -> None:
        self._is_behind = False
        try:
            replace_file(self._path, msgspec.json.encode(self.state).decode())
        except OSError as exc:
            if not self._has_failed:
                log.warning("cannot write %s: %s; going on without it", self._path, exc)
            self._has_failed = True


def boot_id() -> str:
    """Tell one boot of this machine from another; empty when the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def next_state(previous: EngineState | None, now: float) -> EngineState:
    """Return the state that a new launcher begins with, after the one that `previous` tells of.

    Somebody who stops the engine, or another boot, begins anew; a crash goes on where it was.
    """
    fresh = EngineState(
        guardian_pid=os.getpid(), boot_id=boot_id(), message="preparing", series_started_at=now
    )
    if previous is None:
        return fresh
    fresh = msgspec.structs.replace(fresh, last_exit=_last_exit(previous, now))
    if previous.boot_id != fresh.boot_id:
        return fresh
    # Until it is cleared away, what was left behind must be known to whoever comes next.
    fresh = msgspec.structs.replace(
        fresh,
        pid=previous.pid,
        leader_start_ticks=previous.leader_start_ticks,
        members=previous.members,
        scratch_dir=previous.scratch_dir,
    )
    if previous.phase in ("stopped", "failed"):
        return fresh
    fresh = msgspec.structs.replace(
        fresh,
        rung=previous.next_rung.name,
        next_rung=previous.next_rung,
        ladder=previous.ladder,
        configuration=previous.configuration,
    )
    if previous.is_proven:
        return fresh
    return msgspec.structs.replace(
        fresh,
        attempt=previous.attempt + 1,
        quick_ends=previous.quick_ends,
        series_started_at=previous.series_started_at or now,
    )


def _last_exit(previous: EngineState, now: float) -> Exit | None:
    """Return the last end that is known, or that a killed launcher could not write down."""
    if previous.phase not in ("starting", "running", "stopping") or previous.started_at is None:
        return previous.last_exit
    return Exit(
        code=None,
        signal=None,
        at=now,
        lived_s=max(0.0, now - previous.started_at),
        reason="its launcher was killed",
        log_lines=previous.log_lines[-LAST_LOG_LINES:],
    )
