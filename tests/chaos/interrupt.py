"""What SIGINT and SIGTERM do to a run: end it with its processes, and show what it has found."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for both, for the length of a block in the main thread.

    For SIGINT too, which a shell has its background jobs ignore.
    """
    before = {name: signal.signal(name, signal.default_int_handler) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def held() -> Iterator[None]:
    """Put both signals off until the end of a block in the main thread.

    An interrupt between a fork and the return of Popen would leave a process that nobody knows.
    """
    caught: list[int] = []
    before = {name: signal.signal(name, lambda n, _: caught.append(n)) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    for each in caught:
        signal.raise_signal(each)
