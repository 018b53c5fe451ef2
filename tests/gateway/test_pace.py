"""The pace: how many callers a turn of the event loop lets through, in which order."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pace import Pace

pytestmark = pytest.mark.anyio


async def _passing(pace: Pace, count: int) -> tuple[list[asyncio.Task[None]], list[int]]:
    passed: list[int] = []

    async def caller(index: int) -> None:
        await pace.wait()
        passed.append(index)

    return [asyncio.create_task(caller(index)) for index in range(count)], passed


async def test_no_turn_lets_more_through_than_the_pace_and_all_come_in_order() -> None:
    tasks, passed = await _passing(Pace(3), 20)
    sizes = [0]
    for _ in range(200):
        await asyncio.sleep(0)
        sizes.append(len(passed))
        if len(passed) == 20:
            break
    assert passed == list(range(20))
    assert max(after - before for before, after in zip(sizes, sizes[1:], strict=False)) == 3
    await asyncio.gather(*tasks)


async def test_what_else_the_loop_has_to_do_gets_its_turn_in_between() -> None:
    tasks, passed = await _passing(Pace(2), 100)
    seen = []
    while len(passed) < 100:
        seen.append(len(passed))
        await asyncio.sleep(0)
    assert len(seen) > 40
    await asyncio.gather(*tasks)


async def test_who_is_cancelled_while_waiting_takes_nobody_elses_place() -> None:
    tasks, passed = await _passing(Pace(1), 10)
    await asyncio.sleep(0)
    for task in tasks[1:9]:
        task.cancel()
    for _ in range(6):
        await asyncio.sleep(0)
    assert passed == [0, 9]
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_idle_pace_lets_through_at_once_and_leaves_nothing_in_the_loop() -> None:
    pace = Pace(2)
    for _ in range(3):
        for _ in range(2):
            await asyncio.wait_for(pace.wait(), 5)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not pace._is_counting
