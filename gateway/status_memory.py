"""Owns how much memory there is and who has it, as the kernel tells: no tool is started for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Of a container, in the two versions of control groups.
_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
_USED = ("sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory/memory.usage_in_bytes")
KEPT_S = 5.0


class Memory:
    """Reads figures of `/proc`, at most every few seconds; None for what is not told."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._kept: dict[str, Any] = {}
        self._kept_until = float("-inf")

    def told(self, engine_pids: Sequence[int]) -> dict[str, Any]:
        """Return the bytes of the machine, of the engine's processes and of this one."""
        if self._clock() >= self._kept_until:
            self._kept = self._read(engine_pids)
            self._kept_until = self._clock() + KEPT_S
        return self._kept

    def _read(self, engine_pids: Sequence[int]) -> dict[str, Any]:
        machine = self._machine()
        total, available = machine.get("MemTotal"), machine.get("MemAvailable")
        limit = self._first_number(_LIMITS)
        if limit is not None and (total is None or limit < total):
            used = self._first_number(_USED)
            total, available = limit, None if used is None else max(limit - used, 0)
        engine = [self._resident(str(pid)) for pid in engine_pids]
        return {
            "total_bytes": total,
            "available_bytes": available,
            "engine_bytes": sum(filter(None, engine)) if any(engine) else None,
            "gateway_bytes": self._resident("self"),
            "cores": os.cpu_count(),
        }

    def _machine(self) -> dict[str, int]:
        lines = self._text("proc/meminfo").splitlines()
        fields = (line.split() for line in lines)
        return {each[0].rstrip(":"): int(each[1]) * 1024 for each in fields if len(each) == 3}

    def _resident(self, process: str) -> int | None:
        fields = self._text(f"proc/{process}/statm").split()
        # Pages shared with others are not the process's own: workers share what they loaded.
        return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES if len(fields) > 2 else None

    def _first_number(self, paths: Sequence[str]) -> int | None:
        texts = (self._text(path).strip() for path in paths)
        return next((int(text) for text in texts if text.isdecimal()), None)

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""
