"""Batches as they are looked at from outside, while they run and afterwards."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from gateway.fanout import Answers
from gateway.service import Service
from gateway.status_watch import WatchedAnswers
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import Gateway, serving, settings_for, tasks_of, wait_until

pytestmark = pytest.mark.anyio


async def batches(gateway: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = (await gateway.info())["batches"]
    return told


async def wait_for_flight(gateway: Gateway, **counts: int) -> dict[str, Any]:
    """Wait until the one batch in flight has these counts; return what is told of it."""
    with anyio.fail_after(20):
        while True:
            flights = (await batches(gateway))["in_flight"]
            if flights and all(flights[0][name] == value for name, value in counts.items()):
                return dict(flights[0])
            await anyio.sleep(0.01)


async def test_nothing_is_in_flight_before_the_first_batch(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        assert await batches(gateway) == {"num_in_flight": 0, "in_flight": [], "last": []}


async def test_a_batch_is_seen_as_it_fills(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Hold(), match="held")])
    async with (
        serving(settings_for(engine.url, batch_concurrency=2)) as gateway,
        anyio.create_task_group() as tasks,
    ):
        prompts = ["one", "two", "held", "held", "held", ""]
        tasks.start_soon(gateway.predict, prompts)
        flight = await wait_for_flight(gateway, whole=2, under_way=2)
        assert (flight["prompts"], flight["blank"], flight["waiting"]) == (6, 1, 1)
        assert flight["failed"] == 0
        assert flight["characters"] > 0
        left_s = flight["deadline_at"] - flight["began_at"]
        assert 14 < left_s < 16, "the deadline is 15 s after it came"
        while (await batches(gateway))["in_flight"]:
            await engine.release()
    # The gateway is gone with its block; what it told at the end is in the next tests.


async def test_a_batch_that_is_done_is_among_the_last(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Status(400, "out of paper"), match="bad")])
    async with serving(settings_for(engine.url)) as gateway:
        response = await gateway.predict(["one", "bad", ""])
        [told] = (await batches(gateway))["last"]
    answers = response.json()["response"]
    assert told["request_id"] == response.headers["x-request-id"]
    assert (told["prompts"], told["is_cut"], told["is_abandoned"]) == (3, False, False)
    assert (told["counts"]["whole"], told["counts"]["failed"], told["counts"]["blank"]) == (1, 1, 1)
    assert told["characters"] == sum(map(len, answers))
    assert told["tokens"] > 0
    assert "out of paper" in told["error"]


async def test_the_last_batch_comes_first_and_there_is_a_bound(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        for number in range(22):
            await gateway.predict([f"{number}"] * (number + 1))
        sizes = [each["prompts"] for each in (await batches(gateway))["last"]]
    assert sizes == list(range(22, 2, -1))


async def test_an_empty_batch_is_told(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict([])
        [told] = (await batches(gateway))["last"]
    assert (told["prompts"], told["request_id"]) == (0, "")


async def test_a_batch_that_the_deadline_cut_counts_what_came(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.HalfStream(chunks=2, then="stall"), match="slow")])
    async with serving(settings_for(engine.url, predict_deadline_s=3)) as gateway:
        response = await gateway.predict(["one", "slow"])
        [told] = (await batches(gateway))["last"]
        counted = await gateway.sample("evalgate_answer_characters_total")
    assert told["is_cut"]
    assert (told["counts"]["whole"], told["counts"]["partial"]) == (1, 1)
    assert told["characters"] == counted == sum(map(len, response.json()["response"]))


async def test_a_batch_whose_client_left_is_told_as_such(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Stall(), match="stalled")])
    async with serving(settings_for(engine.url)) as gateway:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.predict, ["one", "stalled"])
            await wait_for_flight(gateway, whole=1, under_way=1)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not (last := (await batches(gateway))["last"]):  # noqa: ASYNC110
                await anyio.sleep(0.01)
    [told] = last
    assert told["is_abandoned"]
    assert told["counts"] == {"whole": 1}


async def test_prompts_that_share_a_call_are_counted_too(engine: FakeEngine) -> None:
    await engine.set_script(Script(has_groups=True))
    async with serving(settings_for(engine.url, prompts_per_call=4)) as gateway:
        response = await gateway.predict(["question"] * 32)
        [told] = (await batches(gateway))["last"]
    assert told["characters"] == sum(map(len, response.json()["response"]))
    assert told["tokens"] == 32 * 3
    assert 4 in (await engine.stats()).group_sizes


async def test_answers_under_way_are_in_the_rates(engine: FakeEngine) -> None:
    """What is being written counts while it is written, not only when it is whole."""
    await engine.set_script([Rule(script.HalfStream(chunks=3, then="stall"), match="slow")])
    async with (
        serving(settings_for(engine.url)) as gateway,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(gateway.predict, ["slow question"])
        with anyio.fail_after(10):
            while not any((await gateway.info())["rates"]["characters"]):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert (await batches(gateway))["num_in_flight"] == 1
        tasks.cancel_scope.cancel()


async def test_latencies_are_told_between_bounds(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict(["one", "two"])
        told = (await gateway.info())["latency"]
    assert sum(told["prompt_s"]["counts"]) == 2
    assert sum(told["predict_s"]["counts"]) == 1
    assert len(told["prompt_s"]["counts"]) == len(told["prompt_s"]["bounds_s"]) + 1
    assert told["prompt_s"]["sum_s"] > 0


async def test_a_shutdown_brings_the_deadline_that_is_told_forward(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Stall(), match="stalled")])
    service = Service(settings_for(engine.url))
    watch = service.watch
    async with service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.readiness.run)
        await service.readiness.wait_until_ready()
        deadline = anyio.current_time() + 60
        tasks.start_soon(service.fanout.run, tasks_of(["stalled"]), deadline)
        await wait_until(lambda: bool(watch.flights.in_flight))
        [flight] = watch.flights.in_flight
        assert flight.deadline == deadline
        service.fanout.hasten(anyio.current_time())
        assert flight.deadline < deadline
        await wait_until(lambda: not watch.flights.in_flight)
        tasks.cancel_scope.cancel()


async def test_prompts_per_call_are_those_of_whom_it_watches(engine: FakeEngine) -> None:
    service = Service(settings_for(engine.url))
    watched_answers: Answers = WatchedAnswers(service.answerer, service.watch)
    watched_answers.prompts_per_call = 16
    assert service.answerer.prompts_per_call == watched_answers.prompts_per_call == 16
