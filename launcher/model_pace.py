"""Owns how a download gets on: its rate, its forecast, and the end of one that is too slow.

It knows nothing of hubs; the time is an argument, the alarm the operating system's.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.errors import LauncherError
from launcher.model_sizes import decimal, minutes

log = logging.getLogger(__name__)

REPORT_S = 10.0
# The first seconds tell little: connections warm up, small files come first.
_SETTLING_S = 30.0
_SETTLING_SHARE = 0.25
# A forecast is only one: it may still come right by a fifth.
_MARGIN = 1.2
_CHECK_S = 0.25


class Pace:
    """Counts what arrives and compares the forecast with the budget; used by many threads."""

    def __init__(
        self, left_bytes: int, budget_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`budget_s` 0: as long as it takes."""
        self._left_bytes = left_bytes
        self._budget_s = budget_s
        self._clock = clock
        self._begin = clock()
        self._arrived_bytes = 0
        self._told_s = 0.0
        self._lock = threading.Lock()

    def arrived(self, n_bytes: int) -> None:
        """Count what came over the network; below zero when it has to come again."""
        with self._lock:
            self._arrived_bytes += n_bytes
            is_due = self.elapsed_s >= self._told_s + REPORT_S
            if is_due:
                self._told_s = self.elapsed_s
        if is_due:
            log.info("%s", self)

    @property
    def has_budget(self) -> bool:
        """Whether there is anything to complain of."""
        return self._budget_s > 0

    @property
    def is_complete(self) -> bool:
        """Whether all has come."""
        return self._arrived_bytes >= self._left_bytes

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begin

    @property
    def rate(self) -> float:
        """Bytes per second, over the whole download."""
        return self._arrived_bytes / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """The forecast; None while nothing has come."""
        missing = max(0, self._left_bytes - self._arrived_bytes)
        return missing / self.rate if self.rate > 0 else None

    def __str__(self) -> str:
        """The progress, for people."""
        come = f"{decimal(self._arrived_bytes)} of {decimal(self._left_bytes)} fetched"
        told = f"{come} in {self.elapsed_s:.0f} s, {decimal(self.rate)}/s"
        if self.is_complete:
            return told
        left_s = self.remaining_s
        return f"{told}, {'no forecast yet' if left_s is None else f'{minutes(left_s)} to go'}"

    def complaint(self) -> str | None:
        """Return why the download will not keep its budget, or None while it may."""
        budget_s, elapsed_s, left_s = self._budget_s, self.elapsed_s, self.remaining_s
        if not self.has_budget or self.is_complete:
            return None
        budget = f"MODEL_DOWNLOAD_BUDGET_S={budget_s:g}"
        if elapsed_s >= budget_s:
            return f"{budget} is used up: {self}"
        if elapsed_s < min(_SETTLING_S, budget_s * _SETTLING_SHARE) or left_s is None:
            return None
        if elapsed_s + left_s <= budget_s * _MARGIN:
            return None
        return f"too slow for {budget}, of which {budget_s - elapsed_s:.0f} s are left: {self}"


class _TooSlow(BaseException):
    """Not an Exception: the client takes those for a file that failed, and tries again."""


@contextmanager
def kept(pace: Pace, what: str) -> Iterator[None]:
    """End what runs inside once the pace complains; raises LauncherError.

    By an alarm, which also reaches a client that waits for a byte that never comes. With a budget
    only in the main thread, which is the one that gets alarms.
    """
    if not pace.has_budget:
        yield
        return

    def check(number: int, frame: object) -> None:
        if pace.complaint() is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise _TooSlow

    before = signal.signal(signal.SIGALRM, check)
    try:
        signal.setitimer(signal.ITIMER_REAL, _CHECK_S, _CHECK_S)
        yield
    except _TooSlow:
        advice = "take a smaller or a quantized model, or a nearer hub; what came is kept"
        raise LauncherError(f"{what}: {pace.complaint() or pace}; {advice}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
