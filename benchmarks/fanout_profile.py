"""Owns the profile of a gateway: py-spy's samples, summed up by function. It asks nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RATE_HZ = 500
_START_S = 20.0


@dataclass(frozen=True)
class Cost:
    """The share of all samples that a function was in itself, and with what it called."""

    function: str
    own: float
    whole: float


@contextmanager
def recorded(pid: int, path: Path) -> Iterator[None]:
    """Sample a process for the length of a block; the stacks are in `path` afterwards.

    The process must be busy with what is to be seen: idle samples are left out.
    """
    argv = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid)]
    form = ["--format", "raw", "--function", "--rate", str(RATE_HZ), "--output", str(path)]
    # Its own group: a Ctrl-C ends the block, and the block ends py-spy.
    spy = subprocess.Popen(
        [*argv, *form], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        assert spy.stdout is not None
        spy.stdout.readline()  # its first line: it samples
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        told, _ = spy.communicate(timeout=_START_S)
    if spy.returncode or not path.exists():
        raise SystemExit(f"py-spy failed: {told.decode(errors='replace')}")


def costs(stacks: str) -> list[Cost]:
    """Sum up collapsed stacks ("a;b;c COUNT" a line), what is largest in itself first."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for functions, count in _parsed(stacks):
        own[functions[-1]] += count
        for function in set(functions):  # a recursive one counts once
            whole[function] += count
    total = own.total() or 1
    return [Cost(name, count / total, whole[name] / total) for name, count in own.most_common()]


def by_package(stacks: str, package: str) -> list[Cost]:
    """Sum up by the innermost function of a package: each with all that it calls elsewhere."""
    inner = []
    for functions, count in _parsed(stacks):
        of_package = [each for each in functions if f"({package}/" in each]
        inner.append(f"{of_package[-1] if of_package else 'elsewhere'} {count}")
    return costs("\n".join(inner))


def share_of(stacks: str, place: str) -> float:
    """Return the share of the samples in which any function of a place was at work."""
    counts: Counter[bool] = Counter()
    for functions, count in _parsed(stacks):
        counts[any(place in each for each in functions)] += count
    return counts[True] / (counts.total() or 1)


def _parsed(stacks: str) -> Iterator[tuple[list[str], int]]:
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        yield stack.split(";"), int(count)


def report(stacks: str, rows: int = 25) -> str:
    """Return the largest costs as text."""
    parts = [
        "share of the time, by the gateway's functions with what they call in libraries",
        "(main: the event loop, and what it calls without any other of them)",
        *(f"{cost.own:6.1%}  {cost.function}" for cost in by_package(stacks, "gateway")[:rows]),
        "\nshare of the time, of every function in itself (and with all that it calls)",
        *(f"{cost.own:6.1%} ({cost.whole:6.1%})  {cost.function}" for cost in costs(stacks)[:rows]),
    ]
    return "\n".join(parts)
