"""Prompts that share a call: what the engine gets, and that no fault of a call costs an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from gateway.batch import Batch, Outcome
from gateway.service import Service
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import SAMPLING, metric, running_service, settings_for, tasks_of

pytestmark = pytest.mark.anyio
PROMPTS = [f"question {index}" for index in range(40)]
# A call of several never ends; a stream has its first words at once, and no more.
SLOW = Rule(script.HalfStream(2, "stall"))
ANSWERS = [f"answer to: question {index}" for index in range(40)]


@asynccontextmanager
async def grouping(engine: FakeEngine, *rules: Rule, **changes: Any) -> AsyncIterator[Service]:
    """Run a warm service that puts four prompts into a call, then let the engine do as told."""
    await engine.set_script(Script(has_groups=True))
    async with running_service(
        settings_for(engine.url, **{"prompts_per_call": 4, **changes})
    ) as service:
        await engine.set_script(Script(has_groups=True, rules=rules))
        await engine.reset_stats()
        yield service


async def run(service: Service, within_s: float = 15) -> Batch:
    return await service.fanout.run(tasks_of(PROMPTS), anyio.current_time() + within_s)


async def test_prompts_share_calls_and_keep_their_places(engine: FakeEngine) -> None:
    async with grouping(engine) as service:
        batch = await run(service)
        assert batch.answers == ANSWERS
        assert metric(service.metrics, "evalgate_prompts_per_call") == 4
        assert metric(service.metrics, "evalgate_tokens_total", kind="completion") == 4 * 40
        assert metric(service.metrics, "evalgate_prompts_in_flight") == 0
    stats = await engine.stats()
    assert set(stats.by_prompt.values()) == {1}
    assert stats.group_sizes[:7] == [4] * 7
    assert stats.group_sizes[-1] < 4, "the last ones come alone, and streamed"
    assert stats.peak_running <= 8


async def test_the_concurrency_counts_prompts_not_calls(engine: FakeEngine) -> None:
    hold = Rule(script.Hold())
    async with grouping(engine, hold) as service, anyio.create_task_group() as group:
        group.start_soon(run, service)
        stats = await engine.wait_until(lambda stats: stats.running == 8)
        assert stats.group_sizes == [4, 4]
        group.cancel_scope.cancel()
    await engine.wait_until(lambda stats: stats.running == 0)


@pytest.mark.parametrize(
    "action",
    [
        script.Status(400, "no"),
        script.Status(500, "no"),
        script.Garbage(),
        script.EmptyChoices(),
    ],
    ids=lambda action: f"{action.name}-{getattr(action, 'code', '')}",
)
async def test_one_that_fails_costs_its_neighbours_nothing(
    engine: FakeEngine, action: script.Action
) -> None:
    async with grouping(engine, Rule(action, match="question 17")) as service:
        batch = await run(service)
    assert batch.answers == [*ANSWERS[:17], "", *ANSWERS[18:]]
    assert batch.count(Outcome.FAILED) == 1
    stats = await engine.stats()
    assert max(count for prompt, count in stats.by_prompt.items() if prompt != PROMPTS[17]) == 2


async def test_an_answer_broken_off_is_asked_for_again_and_no_other(engine: FakeEngine) -> None:
    abort = Rule(script.HalfStream(1, "abort"), match="question 17", times=1)
    async with grouping(engine, abort) as service:
        batch = await run(service)
    assert batch.answers == ANSWERS
    by_prompt = (await engine.stats()).by_prompt
    assert by_prompt.pop(PROMPTS[17]) == 2
    assert set(by_prompt.values()) == {1}


@pytest.mark.parametrize("when", ["before", "after_headers", "mid_body"])
async def test_a_reset_amid_a_call_costs_nothing(engine: FakeEngine, when: Any) -> None:
    async with grouping(engine, Rule(script.Reset(when), match="question 17", times=1)) as service:
        batch = await run(service)
    assert batch.answers == ANSWERS


async def test_a_busy_engine_is_waited_for(engine: FakeEngine) -> None:
    busy = Rule(script.Status(503, "busy"), times=3)
    async with grouping(engine, busy) as service:
        batch = await run(service)
    assert batch.answers == ANSWERS


async def test_near_the_deadline_answers_come_as_far_as_they_are(engine: FakeEngine) -> None:
    """A call of several gives all or nothing: what it cannot do in time is asked one by one."""
    async with grouping(engine, SLOW, batch_concurrency=40) as service:
        started = anyio.current_time()
        batch = await run(service, within_s=6)
        assert anyio.current_time() - started < 16
    assert batch.is_cut and not batch.may_group
    assert batch.count(Outcome.PARTIAL) == 40
    assert all(
        answer and full.startswith(answer)
        for answer, full in zip(batch.answers, ANSWERS, strict=True)
    )


async def test_a_shutdown_leaves_time_for_partial_answers(engine: FakeEngine) -> None:
    async with grouping(engine, SLOW, batch_concurrency=40) as service:
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, within_s=600))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(lambda stats: stats.running > 0)
            service.fanout.hasten(anyio.current_time() + 6)
    assert batches[0].count(Outcome.PARTIAL) == 40


async def test_prompts_share_a_call_only_with_the_same_sampling(engine: FakeEngine) -> None:
    async with grouping(engine) as service:
        longer = SAMPLING.__class__(**{**_fields(SAMPLING), "max_new_tokens": 65})
        tasks = [*tasks_of(PROMPTS[:20]), *tasks_of(PROMPTS[20:], longer)]
        await engine.set_script(Script(has_groups=True, rules=[Rule(script.Hold())]))
        async with anyio.create_task_group() as group:
            group.start_soon(service.fanout.run, tasks, anyio.current_time() + 15)
            stats = await engine.wait_until(lambda stats: stats.running == 8)
            assert set(stats.by_prompt) == set(PROMPTS[20:28]), "the longest begin"
            group.cancel_scope.cancel()


def _fields(sampling: Any) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in sampling.__dataclass_fields__}


async def test_what_cannot_fit_is_shortened_before_it_shares_a_call(engine: FakeEngine) -> None:
    await engine.set_script(Script(has_groups=True, max_model_len=64))
    async with running_service(settings_for(engine.url, prompts_per_call=4)) as service:
        long = ["word " * 5000] * 16
        batch = await service.fanout.run(tasks_of(long), anyio.current_time() + 15)
        assert batch.count(Outcome.WHOLE) == 16
        assert metric(service.metrics, "evalgate_prompts_shortened_total") == 16


@pytest.mark.parametrize(("has_groups", "size"), [(True, 4), (False, 1)])
async def test_a_size_that_is_set_is_tried_first(
    engine: FakeEngine, has_groups: bool, size: int
) -> None:
    await engine.set_script(Script(has_groups=has_groups))
    async with running_service(settings_for(engine.url, prompts_per_call=4)) as service:
        assert service.answerer.prompts_per_call == size
        assert (await run(service)).answers == ANSWERS


async def test_the_size_is_measured_once(engine: FakeEngine) -> None:
    await engine.set_script(Script(has_groups=True))
    async with running_service(settings_for(engine.url, prompts_per_call=0)) as service:
        assert (await engine.stats()).group_sizes, "it was tried"
        await engine.set_script(Script(has_groups=True, health="503"))
        await engine.reset_stats()
        with anyio.fail_after(10):
            while service.readiness.is_ready:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await engine.set_script(Script(has_groups=True))
        with anyio.fail_after(10):
            await service.readiness.wait_until_ready()
        stats = await engine.stats()
        assert stats.requests > 0 and not stats.group_sizes
