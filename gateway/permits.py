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
        self.num_free = count
        """How many nobody has; whoever collects may already wait for them."""
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
                self.num_free -= 1
                taken += 1
        except BaseException:
            self.give(taken)
            raise

    def give(self, count: int) -> None:
        """Give permits back, those that `collect` was asked for."""
        for _ in range(min(count, self.count)):
            self.num_free += 1
            self._semaphore.release()
