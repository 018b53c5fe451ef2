"""Owns finding all processes that a command started, also those that left its process group.

They carry a mark in their environment, which children inherit; where one rewrote its environment
(setproctitle does), its session or its parent tells. Reads /proc; where there is none, finds none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "EVALGATE_EVALUATOR_RUN"
_PROC = Path("/proc")


class Identity(NamedTuple):
    """What tells a process from a later one with the same id."""

    pid: int
    start_ticks: int


class Process(NamedTuple):
    """One living process."""

    identity: Identity
    parent: int
    group: int
    session: int

    @property
    def pid(self) -> int:
        """The process id."""
        return self.identity.pid


def find_family(mark: str, known: Collection[Identity]) -> list[Process]:
    """Return the living processes that carry the mark, are known, or descend from such a one.

    A process of the same session belongs to them as well, this process's own session excepted.
    """
    living = {process.pid: process for process in _living()}
    family = {
        pid: process
        for pid, process in living.items()
        if process.identity in known or _is_marked(pid, mark)
    }
    own_session = os.getsid(0)
    while True:
        sessions = {process.session for process in family.values()} - {own_session}
        more = {
            pid: process
            for pid, process in living.items()
            if pid not in family and (process.parent in family or process.session in sessions)
        }
        if not more:
            return list(family.values())
        family |= more


def heads_of(family: Collection[Process]) -> list[Process]:
    """Return the processes whose parent is not of the family: nobody else will end them."""
    pids = {process.pid for process in family}
    return [process for process in family if process.parent not in pids]


def send(number: signal.Signals, family: Collection[Process]) -> None:
    """Signal processes that were found just now."""
    for process in family:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _living() -> list[Process]:
    found = (_read(int(entry.name)) for entry in _PROC.glob("[0-9]*"))
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, parentheses too.
    state, parent, group, session, *rest = text[text.rindex(")") + 2 :].split()
    if state in "ZX":  # dead: it only waits for its parent
        return None
    return Process(Identity(pid, int(rest[15])), int(parent), int(group), int(session))


def _is_marked(pid: int, mark: str) -> bool:
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environ.split(b"\0")
