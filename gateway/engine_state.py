"""Owns reading what the guardian tells of the engine: its state file, without secrets.

The file is another program's: anything may stand in it, or nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.redaction import Redaction

MAX_STATE_BYTES = 256 * 1024


def read_engine_state(path: Path) -> dict[str, Any] | None:
    """Read the guardian's state file; None when there is none, or it is not JSON."""
    try:
        with path.open("rb") as file:
            state = json.loads(file.read(MAX_STATE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


class EngineStateFile:
    """The state as it is now; the file is read again only when it has changed."""

    def __init__(self, path: Path, redaction: Redaction) -> None:
        self._path = path
        self._redaction = redaction
        self._mark: tuple[int, int, int] | None = None
        self._state: dict[str, Any] | None = None

    def state(self) -> dict[str, Any] | None:
        """Return it with its secrets hidden; None when there is none that can be read."""
        try:
            found = self._path.stat()
            # Written anew and moved into place: another file, or another time.
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            mark = None
        if mark is None or mark != self._mark:
            self._mark = mark
            self._state = self._redaction.shown(read_engine_state(self._path))
        return self._state

    def pids(self) -> list[int]:
        """Return the process ids of the engine, as far as they are told."""
        members = (self.state() or {}).get("members")
        each = members if isinstance(members, list) else []
        pids = [member.get("pid") for member in each if isinstance(member, dict)]
        return [pid for pid in pids if isinstance(pid, int)]
