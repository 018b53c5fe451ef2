"""Owns the engine's output on its way: bytes to our stdout as they are, lines to a keeper.

It always reads on: an engine whose pipe is full stands still.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import anyio

from launcher.log_tail import LineSplitter

log = logging.getLogger(__name__)

_STDOUT = 1


class LogPump:
    """Moves everything from a pipe until its last writer is gone."""

    def __init__(
        self,
        source: int,
        splitter: LineSplitter,
        keep: Callable[[list[str]], None],
        sink: int = _STDOUT,
    ) -> None:
        self._source = source
        self._splitter = splitter
        self._keep = keep
        self._sink = sink
        self._has_failed = False
        self._is_drained = anyio.Event()

    async def run(self) -> None:
        """Pump until the end of the pipe."""
        while chunk := await self._read():
            self._write(chunk)
            if lines := self._splitter.feed(chunk):
                self._keep(lines)
        self._keep(self._splitter.flush())
        self._is_drained.set()

    async def wait_until_drained(self, timeout_s: float) -> None:
        """Wait for the pipe's end; a process that left the engine's group may hold it open."""
        with anyio.move_on_after(timeout_s):
            await self._is_drained.wait()

    async def _read(self) -> bytes:
        await anyio.wait_readable(self._source)
        return os.read(self._source, 65536)

    def _write(self, chunk: bytes) -> None:
        try:
            while chunk:
                chunk = chunk[os.write(self._sink, chunk) :]
        except OSError as exc:
            if not self._has_failed:
                log.warning("cannot write the engine's log: %s; going on without it", exc)
            self._has_failed = True
