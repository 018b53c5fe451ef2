"""Owns how many calls begin in one turn of the event loop, so that a batch blocks nobody else.

Hundreds of calls that begin, or go on, in the same turn keep the loop for as long as all of them
need; a health probe, which takes a few turns, then waits for as many times that.
"""

from __future__ import annotations

import asyncio
from collections import deque

# A call costs some 0.3 ms, so a turn some 3 ms, and a probe a few turns.
CALLS_PER_TURN = 8


class Pace:
    """Lets a bounded number of callers through in each turn, in the order in which they came."""

    def __init__(self, per_turn: int = CALLS_PER_TURN) -> None:
        self._per_turn = per_turn
        self._num_passed = 0
        """In this turn."""
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_counting = False

    async def wait(self) -> None:
        """Return at once while this turn has room, else in one of the next."""
        loop = asyncio.get_running_loop()
        if not self._is_counting:
            self._is_counting = True
            loop.call_soon(self._begin_turn)
        if self._num_passed < self._per_turn and not self._waiters:
            self._num_passed += 1
            return
        waiter = loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _begin_turn(self) -> None:
        self._num_passed = 0
        while self._waiters and self._num_passed < self._per_turn:
            waiter = self._waiters.popleft()
            if not waiter.done():  # cancelled
                waiter.set_result(None)
                self._num_passed += 1
        self._is_counting = self._num_passed > 0
        if self._is_counting:
            asyncio.get_running_loop().call_soon(self._begin_turn)
