"""Owns what is measured of a turn: processor time and peak memory of processes, from outside."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from benchmarks.contestants.program import Program


@dataclass(frozen=True)
class Turn:
    """What one turn of a contestant cost."""

    cpu_us: float
    """Processor time of the process and its children, per prompt."""
    wall_us: float
    """Time on the clock, per prompt."""
    peak_mib: float
    """Most memory that the process and its children held at any moment of the turn (RSS)."""


# What asks for a turn's prompts; returns the seconds that the answers took.
Run = Callable[[], Awaitable[float]]


async def measured(process: psutil.Process, num_prompts: int, run: Run) -> Turn:
    """Run one turn and return what it cost the process."""
    reset_peak(process)
    before = cpu_s(process)
    seconds = await run()
    used = cpu_s(process) - before
    return Turn(used / num_prompts * 1e6, seconds / num_prompts * 1e6, peak_mib(process))


def cpu_s(process: psutil.Process) -> float:
    """Return the seconds of processor time of a process and its children so far."""
    return sum(sum(each.cpu_times()[:2]) for each in _family(process))


def reset_peak(process: psutil.Process) -> None:
    """Let the peak memory of a process and its children count from now."""
    for each in _family(process):
        Path(f"/proc/{each.pid}/clear_refs").write_text("5")


def peak_mib(process: psutil.Process) -> float:
    """Return the most memory since `reset_peak` (RSS); of several processes the sum."""
    return sum(_peak_kib(each.pid) for each in _family(process)) / 1024


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


class Prober:
    """Tells how long `GET /` of a gateway takes; the program is fanout_prober.py."""

    def __init__(self, program: Program) -> None:
        self._process = program.process

    def start(self) -> None:
        """Begin to ask."""
        print("go", file=_pipe(self._process.stdin), flush=True)

    def stop(self) -> list[float]:
        """End it; return the seconds of each answer since the start."""
        with suppress(BrokenPipeError):
            print("stop", file=_pipe(self._process.stdin), flush=True)
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise SystemExit("the prober of GET / ended: see its last words above")
        seconds: list[float] = json.loads(line)
        return seconds


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed; NaN when there is none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share) - 1)]
