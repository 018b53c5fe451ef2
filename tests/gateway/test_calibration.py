from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from gateway.calibration import NUM_ROUNDS, SIZES, calibrate, fastest, is_usable
from gateway.errors import EngineBusy, EngineFailure, EngineLost, EngineNotReady

pytestmark = pytest.mark.anyio


def waves(seconds: dict[int, float]) -> tuple[list[int], Callable[[int], Awaitable[None]]]:
    """Return the sizes that were asked for, and a wave that takes so long for each."""
    asked: list[int] = []

    async def wave(size: int) -> None:
        asked.append(size)
        await anyio.sleep(seconds[size])

    return asked, wave


def failing(error: Exception) -> Callable[[int], Awaitable[None]]:
    async def wave(size: int) -> None:
        if size > 1:
            raise error

    return wave


async def test_sizes_take_turns_and_the_fastest_is_chosen() -> None:
    asked, wave = waves({1: 0.05, 16: 0.001, 64: 0.05})
    assert await calibrate(wave, 30) == 16
    assert asked == list(SIZES) * NUM_ROUNDS


async def test_the_budget_ends_it_with_what_was_measured() -> None:
    asked, wave = waves({1: 0.05, 16: 0.001, 64: 60})
    assert await calibrate(wave, 3) == 16
    assert asked == [1, 16, 64]


async def test_without_a_budget_nothing_is_sent() -> None:
    asked, wave = waves({})
    assert await calibrate(wave, 0) == 1
    assert asked == []


async def test_an_engine_that_takes_one_prompt_per_call_is_asked_so() -> None:
    wave = failing(EngineFailure("the engine answered 404: Not Found", can_pass=False))
    assert await calibrate(wave, 30) == 1
    assert not await is_usable(wave, 16, 30)
    assert await is_usable(wave, 1, 30)


async def test_a_call_that_is_not_answered_in_time_is_not_waited_for() -> None:
    asked, wave = waves({16: 60})
    with anyio.fail_after(10):
        assert not await is_usable(wave, 16, 0.1)
    assert asked == [16]


async def test_an_engine_that_is_lost_meanwhile_is_told() -> None:
    wave = failing(EngineLost("gone"))
    with pytest.raises(EngineNotReady):
        await calibrate(wave, 30)
    with pytest.raises(EngineNotReady):
        await is_usable(wave, 16, 30)


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: [1.0], 16: [0.96], 64: [2.0]}, 1),  # a gain that may be noise
        ({1: [1.0], 16: [0.9], 64: [0.8]}, 64),
        ({1: [1.0, 0.2, 1.0], 16: [0.9, 5.0, 0.9], 64: []}, 16),  # medians
        ({1: [], 16: [], 64: []}, 1),
        ({1: [], 16: [0.1]}, 1),
    ],
)
def test_fastest(seconds: dict[int, list[float]], size: int) -> None:
    assert fastest(seconds) == size


async def test_an_engine_that_is_too_busy_for_the_waves_gets_single_calls() -> None:
    async def wave(size: int) -> None:
        raise EngineBusy("the engine answered 429")

    assert await calibrate(wave, 5) == 1
    assert not await is_usable(wave, 16, 5)
