"""Owns how many prompts are at the engine at once: a semaphore of which a call takes several."""

from __future__ import annotations

import asyncio


class Permits:
    """One permit for each prompt; calls get theirs in the order in which they asked.

    Whoever collects several keeps all others waiting until it has them, so that two that have
    half each cannot wait for one another.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._semaphore = asyncio.Semaphore(count)
        self.turn = asyncio.Lock()
        """Held by whoever collects."""

    async def collect(self, count: int) -> None:
        """Block until `count` permits are there; the caller holds the turn.

        At most all that there are; cancelled, it keeps none.
        """
        taken = 0
        try:
            while taken < min(count, self.count):
                await self._semaphore.acquire()
                taken += 1
        except BaseException:
            self.give(taken)
            raise

    def give(self, count: int) -> None:
        """Give permits back."""
        for _ in range(count):
            self._semaphore.release()
