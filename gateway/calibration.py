"""Owns the choice of how many prompts share a call, by the time that waves of calls take."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

from gateway.errors import EngineBusy, EngineNotReady, GatewayError

# More in a call saves less and less, and more is lost with one that fails.
SIZES = (1, 16, 64)
NUM_ROUNDS = 3
# Less than this is noise, and single calls have partial answers.
MIN_GAIN = 0.05


async def calibrate(wave: Callable[[int], Awaitable[None]], budget_s: float) -> int:
    """Return the number of prompts per call that is fastest, 1 where the engine takes no more.

    `wave` sends as many prompts as an engine gets at once, so many to a call, and returns when all
    are answered. The sizes take turns until `budget_s` seconds are over. Raises EngineNotReady
    when the engine is lost meanwhile.
    """
    seconds: dict[int, list[float]] = {size: [] for size in SIZES if budget_s > 0}
    with anyio.move_on_after(budget_s):
        try:
            for _ in range(NUM_ROUNDS):
                for size in seconds:
                    start = anyio.current_time()
                    await wave(size)
                    seconds[size].append(anyio.current_time() - start)
        except EngineBusy:
            return 1
        except EngineNotReady:
            raise
        except GatewayError:
            return 1  # no such route, or one that cannot be used
    return fastest(seconds)


async def is_usable(wave: Callable[[int], Awaitable[None]], size: int, budget_s: float) -> bool:
    """Tell whether the engine answers so many prompts to a call within `budget_s` seconds.

    Raises EngineNotReady.
    """
    with anyio.move_on_after(budget_s):
        try:
            await wave(size)
        except EngineBusy:
            return False
        except EngineNotReady:
            raise
        except GatewayError:
            return False
        return True
    return False


def fastest(seconds: Mapping[int, Sequence[float]]) -> int:
    """Return the size with the least median; 1 unless another is faster by MIN_GAIN."""
    medians = {size: statistics.median(taken) for size, taken in seconds.items() if taken}
    if 1 not in medians:
        return 1
    best = min(medians, key=medians.__getitem__)
    return best if medians[best] < medians[1] * (1 - MIN_GAIN) else 1
