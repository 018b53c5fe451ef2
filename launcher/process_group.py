"""Owns processes and process groups: start one, list it, kill it to the last member. Linux only.

It knows no engine. Nothing here kills a process that it cannot prove to be of the group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import Process

from launcher.state import EngineState, Member, boot_id

_LEASH = Path(__file__).absolute().with_name("leash.py")
_POLL_S = 0.05
# SIGKILL takes effect when the process next leaves the kernel; a driver call may hold it.
KILL_TIMEOUT_S = 30.0
# A tracker needs milliseconds; on a machine with more work than processors it was seen to need
# more than one second, and left shared memory behind when it got no more.
_TRACKER_GRACE_S = 5.0


class ProcessStat(NamedTuple):
    """One process, from /proc/PID/stat."""

    pid: int
    state: str
    ppid: int
    pgrp: int
    start_ticks: int
    # Of the processor, in user and kernel mode.
    cpu_ticks: int


async def start(
    argv: Sequence[str], env: Mapping[str, str], output_fd: int, cwd: Path | None = None
) -> Process:
    """Start `argv` as the leader of a session and group of its own; raises OSError.

    stdout and stderr go to `output_fd`, stdin is empty. When this process dies, by whatever
    cause, the kernel sends the leader SIGTERM.
    """
    # A pipe of asyncio's own would make wait() wait for every process that holds its other end.
    return await anyio.open_process(
        [sys.executable, "-I", str(_LEASH), str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stdout=output_fd,
        stderr=output_fd,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def terminate(leader: int, *, is_wrapper: bool) -> None:
    """Ask the leader of a group to end; of a mere wrapper, what it has started instead.

    A wrapper would die of the signal, and leave what it started to be killed.
    """
    started = [stat.pid for stat in members(leader) if stat.ppid == leader]
    for pid in started if is_wrapper and started else [leader]:
        with suppress(ProcessLookupError):  # it ended a moment ago
            os.kill(pid, signal.SIGTERM)


def read_stat(pid: int) -> ProcessStat | None:
    """Return what the kernel tells of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, parentheses too.
    fields = text[text.rindex(")") + 2 :].split()
    cpu_ticks = int(fields[11]) + int(fields[12])
    ppid, pgrp = int(fields[1]), int(fields[2])
    return ProcessStat(pid, fields[0], ppid, pgrp, int(fields[19]), cpu_ticks)


def members(pgid: int) -> tuple[ProcessStat, ...]:
    """Return the living processes of a group; a zombie is dead and only waits for its parent."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    stats = (read_stat(pid) for pid in pids)
    return tuple(s for s in stats if s is not None and s.pgrp == pgid and s.state not in "ZX")


def cpu_s(pgid: int) -> float:
    """Return the processor time that the living processes of a group have used."""
    return sum(stat.cpu_ticks for stat in members(pgid)) / os.sysconf("SC_CLK_TCK")


def as_members(stats: Iterable[ProcessStat]) -> tuple[Member, ...]:
    """Return what the state file keeps of a group."""
    return tuple(Member(stat.pid, stat.start_ticks) for stat in stats)


async def kill_group(pgid: int, grace_s: float = 0.0) -> bool:
    """Kill every process of a group that is still there after `grace_s`; True once all are gone.

    False when some outlast SIGKILL for `KILL_TIMEOUT_S`.
    """
    if await _wait_until_gone(pgid, grace_s):
        return True
    # Python's resource trackers last: once the others are dead they free the shared memory that
    # those held, and end.
    for stat in members(pgid):
        if not _is_resource_tracker(stat.pid):
            _kill(stat.pid)
    if await _wait_until_gone(pgid, _TRACKER_GRACE_S):
        return True
    with suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)
    return await _wait_until_gone(pgid, KILL_TIMEOUT_S)


async def kill_stale(state: EngineState | None) -> bool:
    """Kill the engine that a killed launcher left behind; True when there was one."""
    pgid = stale_group(state)
    if pgid is None:
        return False
    await kill_group(pgid)
    return True


def stale_group(state: EngineState | None) -> int | None:
    """Return the process group of an engine that a launcher left behind, None without one.

    A group id is in use as long as the group has a process. So one process that the state names,
    with the start time that it names, proves that the group is still the same.
    """
    if state is None or state.pid is None or state.boot_id != boot_id():
        return None
    pgid = state.pid
    known = {*state.members, Member(pgid, state.leader_start_ticks or -1)}
    # A dead leader that nobody has waited for yet still holds its pid, and so is proof too.
    leader = read_stat(pgid)
    found = as_members([*members(pgid), *([leader] if leader is not None else [])])
    if pgid == os.getpgrp() or not known.intersection(found) or not members(pgid):
        return None
    return pgid


async def _wait_until_gone(pgid: int, timeout_s: float) -> bool:
    deadline = anyio.current_time() + timeout_s
    while is_there := bool(members(pgid)):
        if anyio.current_time() >= deadline:
            break
        await anyio.sleep(_POLL_S)
    return not is_there


def _is_resource_tracker(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
