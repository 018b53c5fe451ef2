from __future__ import annotations

import anyio
import pytest

from gateway.permits import Permits
from tests.turns import let_others_run

pytestmark = pytest.mark.anyio


async def test_two_that_want_several_do_not_wait_for_one_another() -> None:
    permits = Permits(4)
    most = under_way = done = 0

    async def call(count: int) -> None:
        nonlocal most, under_way, done
        async with permits.turn:
            await permits.collect(count)
        under_way += count
        most = max(most, under_way)
        await let_others_run()
        under_way -= count
        permits.give(count)
        done += 1

    with anyio.fail_after(10):
        async with anyio.create_task_group() as calls:
            for count in (3, 3, 2, 1, 4, 1):
                calls.start_soon(call, count)
    assert (most, done) == (4, 6)


async def test_more_than_there_are_is_all_there_are() -> None:
    permits = Permits(2)
    with anyio.fail_after(10):
        await permits.collect(5)
    permits.give(2)
    with anyio.fail_after(10):
        await permits.collect(2)


async def test_who_is_cancelled_keeps_none() -> None:
    permits = Permits(4)
    await permits.collect(2)
    async with anyio.create_task_group() as calls:
        calls.start_soon(permits.collect, 4)
        await let_others_run()
        calls.cancel_scope.cancel()
    with anyio.fail_after(10):
        await permits.collect(2)
