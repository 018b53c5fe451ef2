"""Owns how much work the gateway accepts: a bound on open prompts, and when to come again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from gateway.errors import Overloaded

# Long enough to hold some answers of a slow engine, short enough to follow a change.
WINDOW_S = 30
# Told while nothing was measured yet: about a warm-up.
DEFAULT_RETRY_S = 10
MAX_RETRY_S = 600


class DrainRate:
    """Prompts done per second, over the last half minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[list[int]] = deque()

    def note_done(self) -> None:
        """Count one prompt."""
        now = int(self._clock())
        if self._seconds and self._seconds[-1][0] == now:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([now, 1])
            self._forget(now)

    def per_second(self) -> float:
        """Return the rate; 0 when nothing was done of late."""
        now = int(self._clock())
        self._forget(now)
        if not self._seconds:
            return 0.0
        span_s = now - self._seconds[0][0] + 1
        return sum(count for _, count in self._seconds) / span_s

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_S:
            self._seconds.popleft()


class Ticket:
    """The place of one request's prompts among the open ones."""

    def __init__(self, admission: Admission, num_prompts: int) -> None:
        self._admission = admission
        self._num_open = num_prompts

    def note_done(self) -> None:
        """Give one prompt's place back."""
        self._num_open -= 1
        self._admission.leave(1)
        self._admission.rate.note_done()

    def close(self) -> None:
        """Give back what is left: prompts that the deadline or a leaving client ended."""
        self._admission.leave(self._num_open)
        self._num_open = 0


class Admission:
    """Bounds the prompts that were accepted and have no answer yet, over all requests."""

    def __init__(
        self, max_open_prompts: int, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        self._max_open_prompts = max_open_prompts
        self.num_open = 0
        self.rate = DrainRate(clock)

    @contextmanager
    def admit(self, num_prompts: int) -> Iterator[Ticket]:
        """Take a request's prompts in while the block runs; raises Overloaded.

        A request that comes while nothing is open is always taken in.
        """
        excess = self.num_open + num_prompts - self._max_open_prompts
        if excess > 0 and self.num_open > 0:
            raise Overloaded(
                f"{self.num_open} prompts are open and {num_prompts} more came, "
                f"the limit MAX_OPEN_PROMPTS is {self._max_open_prompts}",
                retry_after_s=self._retry_after_s(excess),
            )
        self.num_open += num_prompts
        ticket = Ticket(self, num_prompts)
        try:
            yield ticket
        finally:
            ticket.close()

    def leave(self, num_prompts: int) -> None:
        """Take prompts off the count; for tickets."""
        self.num_open -= num_prompts

    def _retry_after_s(self, excess: int) -> int:
        """Return the seconds in which the engine makes room, at its present rate."""
        rate = self.rate.per_second()
        if rate == 0:
            return DEFAULT_RETRY_S
        return min(max(math.ceil(min(excess, self.num_open) / rate), 1), MAX_RETRY_S)
