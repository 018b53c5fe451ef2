from __future__ import annotations

import anyio
import pytest

from evaluator.client import Client
from evaluator.health import Health, wait_until_healthy
from tests.fakes.service import FakeService
from tests.fakes.service import Health as Step

pytestmark = pytest.mark.anyio


async def wait(url: str, limit_s: float, look_timeout_s: float = 2.0) -> Health:
    health = Health()
    async with Client(url) as client:
        deadline = anyio.current_time() + limit_s
        await wait_until_healthy(
            client, health, deadline, interval_s=0.01, look_timeout_s=look_timeout_s
        )
    return health


@pytest.mark.parametrize(("step", "mode"), [("ok", "single"), ("batch", "batch")])
async def test_healthy_at_once(step: Step, mode: str) -> None:
    async with FakeService(health=[step]).running() as service:
        assert await wait(service.url, 5) == Health(mode=mode)  # type: ignore[arg-type]


async def test_what_was_seen_before_is_counted() -> None:
    steps: list[Step] = ["503", "503", "404", "reset", "warming", "not json", "ok"]
    async with FakeService(health=steps).running() as service:
        health = await wait(service.url, 5)
    assert health.mode == "single"
    assert health.problem == ""
    assert health.seen == {
        "status 503": 2,
        "status 404": 1,
        "connection cut": 1,
        'status "warming"': 1,
        "200 without a status": 1,
    }


async def test_port_that_opens_late() -> None:
    service = FakeService()
    service.reserve_port()
    health = Health()
    refused = anyio.Event()

    async def open_after_a_refusal() -> None:
        await refused.wait()
        await service.listen()

    async with Client(service.url) as client, anyio.create_task_group() as group:
        group.start_soon(open_after_a_refusal)
        await wait_until_healthy(
            client, health, anyio.current_time() + 5, on_look=refused.set, interval_s=0.01
        )
    assert health.mode == "batch"
    assert health.seen["refused"] >= 1
    await service.close()


async def test_look_that_takes_too_long_is_given_up() -> None:
    async with FakeService(health=["stall", "batch"]).running() as service:
        health = await wait(service.url, 20, look_timeout_s=3)
    assert (health.mode, health.seen) == ("batch", {"timeout": 1})


async def test_limit_ends_it_and_says_what_was_there_last() -> None:
    async with FakeService(health=["404", "warming"]).running() as service:
        health = await wait(service.url, 3)
    assert health.mode is None
    assert health.problem == 'not healthy within the limit; the last look saw: status "warming"'


async def test_limit_is_kept_by_a_look_that_hangs() -> None:
    async with FakeService(health=["stall"]).running() as service:
        start = anyio.current_time()
        health = await wait(service.url, 0.2, look_timeout_s=60)
        assert 0.2 <= anyio.current_time() - start < 30
    assert health.seen == {"timeout": 1}


async def test_limit_that_is_over_already() -> None:
    assert (await wait("http://127.0.0.1:1", 0)).problem.endswith("saw: nothing yet")


async def test_end_of_the_service_ends_it() -> None:
    health = Health()
    async with FakeService(health=["503"]).running() as service, Client(service.url) as client:
        ends = iter(["", "the service ended"])
        await wait_until_healthy(
            client,
            health,
            anyio.current_time() + 60,
            find_end=lambda: next(ends),
            interval_s=0.01,
        )
    assert (health.problem, health.seen) == ("the service ended", {"status 503": 2})


async def test_looks_begin_an_interval_apart() -> None:
    looks: list[float] = []
    health = Health()
    steps: list[Step] = ["503", "503", "503", "503", "ok"]
    async with FakeService(health=steps).running() as service, Client(service.url) as client:
        start = anyio.current_time()
        await wait_until_healthy(
            client,
            health,
            start + 20,
            on_look=lambda: looks.append(anyio.current_time()),
            interval_s=0.1,
        )
    # They are told of when they end: only the first one's begin is known.
    assert [after - start >= 0.1 * number for number, after in enumerate(looks)] == [True] * 4
