"""Waits for something that only looking can tell; every wait has its limit."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.05


class NotSeen(AssertionError):
    """Something that a row depends on was not so in time: the row could not be run."""


def wait_for(what: str, is_so: Callable[[], bool], limit_s: float, poll_s: float = POLL_S) -> float:
    """Block until something is so; return the seconds that it took. Raises NotSeen."""
    start = time.monotonic()
    while not is_so():
        if time.monotonic() - start > limit_s:
            raise NotSeen(f"{what}: not within {limit_s:g} s")
        time.sleep(poll_s)
    return time.monotonic() - start


def require(what: str, is_so: bool) -> None:
    """Raise NotSeen unless something is so right now."""
    if not is_so:
        raise NotSeen(what)
