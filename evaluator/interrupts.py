"""Owns the signals that ask this program to stop: Ctrl-C, SIGTERM, a closed terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
"""Of a program that was interrupted."""


class Interrupts:
    """Counts the requests to stop: the first cancels the work, another one hurries its end."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def has_come(self) -> bool:
        """Whether the work was cancelled."""
        return self.count > 0

    @property
    def is_urgent(self) -> bool:
        """Whether the user has lost patience with the cleaning up too."""
        return self.count > 1

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Make the first request to stop cancel the block, which then ends without an error."""
        loop = asyncio.get_running_loop()
        # What was ignored from the start, as nohup does with SIGHUP, stays so.
        heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        with anyio.CancelScope() as work:
            for number in heeded:
                loop.add_signal_handler(number, self._count, work)
            try:
                yield
            finally:
                for number in heeded:
                    loop.remove_signal_handler(number)

    def _count(self, work: anyio.CancelScope) -> None:
        self.count += 1
        work.cancel()
