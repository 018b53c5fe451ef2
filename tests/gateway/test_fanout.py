from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.lowlevel import checkpoint

from gateway.answering import Task
from gateway.batch import Batch, Outcome
from gateway.errors import (
    EngineFailure,
    EngineLost,
    EngineTimeout,
    GatewayError,
    InvalidRequest,
)
from gateway.fanout import Fanout
from gateway.metrics import Metrics
from gateway.pace import CALLS_PER_TURN
from gateway.service import Service
from gateway.streaming import Draft
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import metric, running_service, settings_for, tasks_of, wait_until
from tests.turns import let_others_run

pytestmark = pytest.mark.anyio
OwnEngine = Callable[[Script], FakeEngine]


def answers_to(prompts: list[str]) -> list[str]:
    return [f"answer to: {prompt}" for prompt in prompts]


async def run(service: Service, prompts: list[str], within_s: float = 15) -> Batch:
    return await service.fanout.run(tasks_of(prompts), anyio.current_time() + within_s)


@asynccontextmanager
async def warm_service(engine: FakeEngine, **changes: object) -> AsyncIterator[Service]:
    """Run a service whose warm-up is over and not in the engine's stats."""
    async with running_service(settings_for(engine.url, **changes)) as service:
        await engine.reset_stats()
        yield service


@pytest.mark.parametrize("count", [358, 2000])
async def test_batch_keeps_order_under_random_delays(engine: FakeEngine, count: int) -> None:
    prompts = [f"question {index}" for index in range(count)]
    async with warm_service(engine, batch_concurrency=64) as service:
        await engine.set_script([Rule(script.Delay(0.0, 0.02))])
        batch = await run(service, prompts)
    assert batch.answers == answers_to(prompts)
    assert batch.count(Outcome.WHOLE) == count
    stats = await engine.stats()
    assert stats.peak_running <= 64
    assert set(stats.by_prompt.values()) == {1}


async def test_peak_in_flight_is_the_concurrency_over_two_batches(engine: FakeEngine) -> None:
    first = [f"first {index}" for index in range(20)]
    second = [f"second {index}" for index in range(20)]
    batches: dict[str, Batch] = {}
    async with warm_service(engine, batch_concurrency=8) as service:
        await engine.set_script([Rule(script.Hold())])

        async def collect(name: str, prompts: list[str]) -> None:
            batches[name] = await run(service, prompts)

        async with anyio.create_task_group() as group:
            group.start_soon(collect, "first", first)
            await engine.wait_until(lambda stats: stats.running == 8)
            group.start_soon(collect, "second", second)
            for answered in range(0, 40, 8):
                goal = answered + 8
                await engine.wait_until(lambda stats, goal=goal: stats.requests == goal)  # type: ignore[misc]
                assert metric(service.metrics, "evalgate_prompts_in_flight") == 8
                await engine.release()
    assert batches["first"].answers == answers_to(first)
    assert batches["second"].answers == answers_to(second)
    assert (await engine.stats()).peak_running == 8


async def test_second_batch_gets_its_share_while_the_first_runs(engine: FakeEngine) -> None:
    async with warm_service(engine, batch_concurrency=4) as service:
        await engine.set_script([Rule(script.Hold())])
        async with anyio.create_task_group() as group:
            group.start_soon(run, service, [f"long {index}" for index in range(200)])
            await engine.wait_until(lambda stats: stats.running == 4)
            group.start_soon(run, service, ["short"])
            await let_others_run()
            await engine.release()
            stats = await engine.wait_until(lambda stats: "short" in stats.by_prompt)
            assert stats.requests <= 8, "it did not wait for the long one"
            group.cancel_scope.cancel()


async def test_cancelled_batches_give_their_places_back(engine: FakeEngine) -> None:
    async with warm_service(engine, batch_concurrency=8) as service:
        await engine.set_script([Rule(script.Stall(), match="stall")])
        for _ in range(5):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(run, service, ["stall"] * 20)
                    group.start_soon(run, service, ["stall"] * 20)
                    await engine.wait_until(lambda stats: stats.running == 8)
                    scope.cancel()
            await engine.wait_until(lambda stats: stats.running == 0)
        await engine.set_script([Rule(script.Hold())])
        async with anyio.create_task_group() as group:
            group.start_soon(run, service, [f"question {index}" for index in range(8)])
            await engine.wait_until(lambda stats: stats.running == 8)
            await engine.release()


async def test_blank_prompts_are_answered_without_a_call(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        batch = await run(service, ["", "question", " \n\t", "　"])
        assert batch.answers == ["", "answer to: question", "", ""]
        assert metric(service.metrics, "evalgate_answers_total", outcome="blank") == 3
        assert metric(service.metrics, "evalgate_answers_total", outcome="whole") == 1
    assert (await engine.stats()).by_prompt == {"question": 1}


async def test_empty_batch_is_over_at_once(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        batch = await run(service, [])
    batch.raise_if_nothing()
    assert batch.answers == []


async def test_failing_prompt_fails_only_itself(engine: FakeEngine) -> None:
    prompts = [f"question {index}" for index in range(30)]
    prompts[7], prompts[13], prompts[29] = "garbage", "refused", "null"
    async with warm_service(engine) as service:
        await engine.set_script(
            [
                Rule(script.Garbage(), match="garbage"),
                Rule(script.Status(400, "bad"), match="refused"),
                Rule(script.EmptyChoices(), match="null"),
            ]
        )
        batch = await run(service, prompts)
        assert metric(service.metrics, "evalgate_prompt_errors_total", type="EngineFailure") == 2
        assert metric(service.metrics, "evalgate_prompt_errors_total", type="InvalidRequest") == 1
    batch.raise_if_nothing()
    expected = answers_to(prompts)
    expected[7] = expected[13] = expected[29] = ""
    assert batch.answers == expected
    assert set(batch.errors) == {7, 13, 29}


async def test_deadline_returns_whole_answers_and_cancels_the_rest(engine: FakeEngine) -> None:
    prompts = [("stall" if index % 3 == 0 else "question") + f" {index}" for index in range(24)]
    async with warm_service(engine, batch_concurrency=16) as service:
        await engine.set_script([Rule(script.Stall(), match="stall")])
        started = anyio.current_time()
        batch = await run(service, prompts, within_s=4.0)
        assert 4.0 <= anyio.current_time() - started < 14
        assert metric(service.metrics, "evalgate_answers_total", outcome="unfinished") == 8
        assert metric(service.metrics, "evalgate_prompts_in_flight") == 0
    batch.raise_if_nothing()
    assert batch.answers == [
        "" if "stall" in prompt else f"answer to: {prompt}" for prompt in prompts
    ]
    stats = await engine.wait_until(lambda stats: stats.running == 0)
    assert stats.cancelled == 8


async def test_deadline_before_any_answer_is_a_timeout(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Stall())])
        batch = await run(service, ["one", "two"], within_s=0.2)
    with pytest.raises(EngineTimeout, match="2 prompts") as raised:
        batch.raise_if_nothing()
    assert raised.value.status == 504


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (script.Status(400, "no"), InvalidRequest),
        (script.Garbage(), EngineFailure),
        (script.Close("before"), EngineLost),
    ],
)
async def test_batch_of_failures_raises_their_error(
    engine: FakeEngine, action: script.Action, error: type[Exception]
) -> None:
    async with warm_service(engine) as service:
        await engine.set_script([Rule(action)])
        batch = await run(service, ["", "one", "two"])
    with pytest.raises(error):
        batch.raise_if_nothing()


async def test_engine_killed_in_mid_batch_costs_no_answer(own_engine: OwnEngine) -> None:
    early = [f"early {index}" for index in range(40)]
    late = [f"late {index}" for index in range(40)]
    prompts = early + late
    engine = own_engine(Script())
    async with warm_service(engine, batch_concurrency=16) as service:
        await engine.set_script([Rule(script.Hold(), match="late")])
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, prompts))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            seen = await engine.wait_until(lambda stats: stats.running == 16)
            assert all(seen.by_prompt[prompt] == 1 for prompt in early)
            engine.kill()
            await anyio.to_thread.run_sync(engine.start_again)
        [batch] = batches
        assert batch.answers == answers_to(prompts)
        assert metric(service.metrics, "evalgate_prompts_requeued_total") == 16
        assert service.readiness.losses == 1
    after = await engine.stats()
    assert {name: after.by_prompt.get(name, 0) for name in prompts} == {
        **dict.fromkeys(early, 0),
        **dict.fromkeys(late, 1),
    }


async def test_engine_killed_again_and_again_costs_no_answer(own_engine: OwnEngine) -> None:
    prompts = [f"question {index}" for index in range(60)]
    engine = own_engine(Script())
    async with warm_service(engine, batch_concurrency=8) as service:
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, prompts))

        slow = Script(rules=[Rule(script.Hold(), match="question")])
        await engine.set_script(slow)
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            for _ in range(3):
                await engine.wait_until(lambda stats: stats.running == 8)
                await engine.release()
                await engine.wait_until(lambda stats: stats.running == 8)
                engine.kill()
                await anyio.to_thread.run_sync(engine.start_again, slow)
            await engine.wait_until(lambda stats: stats.running == 8)
            await engine.set_script(Script())
            await engine.release()
        [batch] = batches
    assert batch.answers == answers_to(prompts)


async def test_engine_gone_for_good_ends_at_the_deadline(own_engine: OwnEngine) -> None:
    engine = own_engine(Script())
    async with warm_service(engine) as service:
        engine.kill()
        batch = await run(service, ["one", "two"], within_s=0.5)
        assert batch.count(Outcome.UNFINISHED) == 2
    with pytest.raises(EngineTimeout):
        batch.raise_if_nothing()


@pytest.mark.parametrize("action", [script.Reset("before"), script.Reset("mid_body")])
async def test_poisonous_prompt_fails_after_its_attempts_and_alone(
    engine: FakeEngine, action: script.Reset
) -> None:
    prompts = [f"question {index}" for index in range(40)]
    prompts[5] = "poison"
    async with warm_service(engine, max_engine_attempts=3) as service:
        await engine.set_script([Rule(action, match="poison")])
        batch = await run(service, prompts)
        assert metric(service.metrics, "evalgate_prompts_requeued_total") == 2
        assert service.readiness.losses == 0, "the engine's health was good all the time"
    expected = answers_to(prompts)
    expected[5] = "answer to:" if action.when == "mid_body" else ""
    assert batch.answers == expected
    assert set(batch.errors) == {5} and isinstance(batch.errors[5], EngineLost)
    by_prompt = (await engine.stats()).by_prompt
    # An attempt that met no answer on a reused connection is made once more on a new one.
    assert by_prompt.pop("poison") in ((3,) if action.when == "mid_body" else (3, 4, 5, 6))
    assert set(by_prompt.values()) == {1}


async def test_prompt_that_kills_engines_is_found_and_takes_none_along(
    own_engine: OwnEngine,
) -> None:
    """With every prompt under way counted as a suspect, all of them failed with the culprit."""
    prompts = [f"question {index}" for index in range(40)]
    prompts[7] = "poison"
    slow = Script(
        rules=[Rule(script.Exit(1), match="poison", after_s=0.1), Rule(script.Delay(0.3))]
    )
    engine = own_engine(Script())
    async with warm_service(engine, batch_concurrency=16, max_engine_attempts=4) as service:
        await engine.set_script(slow)
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, prompts, 60))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            for _ in range(4):
                await anyio.to_thread.run_sync(engine.wait, 30)
                await anyio.to_thread.run_sync(engine.start_again, slow)
        [batch] = batches
    expected = answers_to(prompts)
    expected[7] = ""
    assert batch.answers == expected
    assert set(batch.errors) == {7}
    assert batch.losses[7] == 4
    assert sorted(batch.losses.values())[-2] <= 3, "nobody else was there each time"


@pytest.mark.parametrize(
    "action", [script.Status(503, "later"), script.Status(429, "later"), script.Status(500, "once")]
)
async def test_engine_that_is_busy_for_a_while_costs_no_answer(
    engine: FakeEngine, action: script.Status
) -> None:
    prompts = [f"question {index}" for index in range(20)]
    async with warm_service(engine) as service:
        await engine.set_script([Rule(action, times=30 if action.code != 500 else 20)])
        batch = await run(service, prompts)
        assert batch.answers == answers_to(prompts)
        assert metric(service.metrics, "evalgate_prompts_requeued_total") >= 20


async def test_engine_that_fails_everybody_for_seconds_costs_no_answer(engine: FakeEngine) -> None:
    """Its tries were over in less than a second, one prompt after another."""
    prompts = [f"question {index}" for index in range(200)]
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Status(500, "no"))])
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, prompts, 60))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await anyio.sleep(2)
            await engine.set_script([])
        assert batches[0].answers == answers_to(prompts)


async def test_engine_that_stays_busy_ends_at_the_deadline_not_before(engine: FakeEngine) -> None:
    async with warm_service(engine, max_engine_attempts=1) as service:
        await engine.set_script([Rule(script.Status(503, "later"))])
        batch = await run(service, ["a", "b"], within_s=1.0)
    assert batch.outcomes == [Outcome.UNFINISHED, Outcome.UNFINISHED]
    with pytest.raises(EngineTimeout):
        batch.raise_if_nothing()


async def test_wrong_key_is_not_asked_again(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Status(401, "no"))])
        batch = await run(service, ["a", "b"])
    assert set(batch.errors) == {0, 1}
    assert (await engine.stats()).requests == 2


async def test_deadline_keeps_what_was_written_by_then(engine: FakeEngine) -> None:
    prompts = [("half" if index % 2 else "question") + f" {index}" for index in range(12)]
    async with warm_service(engine, batch_concurrency=16) as service:
        await engine.set_script([Rule(script.HalfStream(2, "stall"), match="half")])
        batch = await run(service, prompts, within_s=4)
    assert batch.is_cut
    assert batch.counts() == {"whole": 6, "partial": 6, "blank": 0, "failed": 0, "unfinished": 0}
    assert batch.answers == [
        "answer" if "half" in prompt else f"answer to: {prompt}" for prompt in prompts
    ]


async def test_text_from_before_the_engine_died_is_kept_when_it_stays_away(
    own_engine: OwnEngine,
) -> None:
    engine = own_engine(Script())
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.HalfStream(3, "stall"))])
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, ["a", "b"], within_s=4))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(lambda stats: stats.running == 2)
            await let_others_run()
            engine.kill()
    assert batches[0].answers == ["answer to:", "answer to:"]
    assert batches[0].count(Outcome.PARTIAL) == 2


async def test_every_prompt_is_counted_off_once(engine: FakeEngine) -> None:
    done: list[int] = []
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Status(400, "no"), match="bad")])
        prompts = ["a", "", "bad", "b"]
        deadline = anyio.current_time() + 10
        await service.fanout.run(tasks_of(prompts), deadline, lambda: done.append(1))
    assert len(done) == 3, "the blank one never needed the engine"


async def test_ten_thousand_open_prompts_leave_soon_after_the_deadline(
    engine: FakeEngine,
) -> None:
    prompts = [f"question {index}" for index in range(10_000)]
    batches: list[Batch] = []
    async with warm_service(engine, batch_concurrency=2000) as service:
        await engine.set_script([Rule(script.HalfStream(2, "stall"))])

        async def collect() -> None:
            batches.append(await run(service, prompts, 120))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(lambda stats: stats.running == 2000, 60)
            service.fanout.hasten(anyio.current_time() + 5)
            with anyio.fail_after(60):  # the chaos table tells how soon
                await wait_until(lambda: bool(batches))
    [batch] = batches
    assert batch.counts() == {
        "whole": 0,
        "partial": 2000,
        "blank": 0,
        "failed": 0,
        "unfinished": 8000,
    }


async def test_prompts_wait_for_a_warm_engine(engine: FakeEngine) -> None:
    await engine.set_script(Script(health="503"))
    async with running_service(settings_for(engine.url), is_warm=False) as service:
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, ["question"]))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await let_others_run()
            assert (await engine.stats()).requests == 0
            await engine.set_script(Script())
        assert batches[0].answers == ["answer to: question"]
        assert metric(service.metrics, "evalgate_prompts_requeued_total") == 0


async def test_hasten_brings_running_and_later_deadlines_forward(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Stall(), match="stall")])
        batches: list[Batch] = []

        async def collect() -> None:
            batches.append(await run(service, ["stall", "question"], within_s=60))

        started = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(lambda stats: stats.requests == 2)
            await wait_until(lambda: metric(service.metrics, "evalgate_prompts_in_flight") == 1)
            service.fanout.hasten(anyio.current_time() + 0.2)
        batches.append(await run(service, ["stall", "question"], within_s=60))
        assert anyio.current_time() - started < 20
    assert batches[0].answers == ["", "answer to: question"]
    assert batches[1].outcomes == [Outcome.UNFINISHED, Outcome.UNFINISHED]


async def test_hasten_never_puts_a_deadline_off(engine: FakeEngine) -> None:
    async with warm_service(engine) as service:
        await engine.set_script([Rule(script.Stall())])
        service.fanout.hasten(anyio.current_time() + 60)
        with anyio.fail_after(5):
            batch = await run(service, ["stall"], within_s=0.1)
    assert batch.outcomes == [Outcome.UNFINISHED]


@dataclass
class Door:
    """A gate that the test opens and closes; it counts who found the engine gone."""

    is_open: anyio.Event = field(default_factory=anyio.Event)
    suspicions: int = 0

    async def wait_until_ready(self) -> None:
        await self.is_open.wait()

    def suspect(self) -> None:
        self.suspicions += 1


@dataclass
class Told:
    """Answers as a function says, at once."""

    say: Callable[[Task], Awaitable[str]]
    prompts_per_call: int = 1

    async def answer_group(self, tasks: Sequence[Task]) -> list[str | None]:
        return [await self.say(task) for task in tasks]

    async def answer(self, task: Task, draft: Draft) -> str:
        return await self.say(task)

    def partial(self, task: Task, draft: Draft) -> str:
        return draft.text


def fanout_of(
    answer: Callable[[Task], Awaitable[str]], door: Door, *, concurrency: int = 4
) -> Fanout:
    return Fanout(Told(answer), door, Metrics(), concurrency=concurrency, max_attempts=3)


async def test_lost_prompt_goes_first_again() -> None:
    """It is the oldest, and a batch's last answers decide when it is done."""
    asked: list[str] = []

    async def answer(task: Task) -> str:
        asked.append(task.prompt)
        if asked == ["a"]:
            raise EngineLost("gone")
        return task.prompt.upper()

    door = Door()
    door.is_open.set()
    fanout = fanout_of(answer, door, concurrency=1)
    batch = await fanout.run(tasks_of(["a", "b", "c"]), anyio.current_time() + 5)
    assert asked == ["a", "a", "b", "c"]
    assert batch.answers == ["A", "B", "C"]
    assert door.suspicions == 1


async def test_a_large_batch_leaves_the_loop_to_others_between_its_calls() -> None:
    """`GET /` is answered by the same loop: it must not wait for hundreds of calls to begin."""
    begun = 0
    is_over = anyio.Event()

    async def answer(task: Task) -> str:
        nonlocal begun
        begun += 1
        await is_over.wait()
        return task.prompt

    door = Door()
    door.is_open.set()
    fanout = fanout_of(answer, door, concurrency=512)
    prompts = [f"question {index}" for index in range(512)]
    async with anyio.create_task_group() as group:
        group.start_soon(fanout.run, tasks_of(prompts), anyio.current_time() + 60)
        most = 0
        while begun < len(prompts):
            before = begun
            await checkpoint()
            most = max(most, begun - before)
        is_over.set()
    assert most <= CALLS_PER_TURN


async def test_no_prompt_is_asked_through_a_gate_that_closed_while_it_waited_its_turn() -> None:
    asked = 0
    door = Door()
    door.is_open.set()

    async def answer(task: Task) -> str:
        nonlocal asked
        asked += 1
        door.is_open = anyio.Event()  # the first call finds the engine gone
        await anyio.sleep_forever()
        raise AssertionError

    fanout = fanout_of(answer, door, concurrency=512)
    prompts = [f"question {index}" for index in range(512)]
    await fanout.run(tasks_of(prompts), anyio.current_time() + 0.2)
    assert asked <= CALLS_PER_TURN


async def test_calls_are_as_large_as_their_lane_allows_when_they_begin() -> None:
    """They are begun a few a turn: what was true of the lane before is not true any more."""
    sizes: list[int] = []
    door = Door()
    door.is_open.set()

    class Grouped(Told):
        async def answer_group(self, tasks: Sequence[Task]) -> list[str | None]:
            sizes.append(len(tasks))
            await let_others_run()
            return [task.prompt for task in tasks]

        async def answer(self, task: Task, draft: Draft) -> str:
            sizes.append(1)
            return task.prompt

    async def nothing(task: Task) -> str:
        raise AssertionError

    fanout = Fanout(Grouped(nothing, 16), door, Metrics(), concurrency=512, max_attempts=3)
    prompts = [f"question {index}" for index in range(358)]
    batch = await fanout.run(tasks_of(prompts), anyio.current_time() + 60)
    assert batch.answers == prompts
    left = 358
    for size in sizes:
        assert size == max(min(16, left // 4), 1)
        left -= size


async def test_closed_gate_keeps_every_prompt_back_until_the_deadline() -> None:
    async def answer(task: Task) -> str:
        raise AssertionError("asked through a closed gate")

    fanout = fanout_of(answer, Door())
    batch = await fanout.run(tasks_of(["a", "", "b"]), anyio.current_time() + 0.05)
    assert batch.outcomes == [Outcome.UNFINISHED, Outcome.BLANK, Outcome.UNFINISHED]


async def test_defect_in_an_answer_costs_one_prompt_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(task: Task) -> str:
        if task.prompt == "bad":
            raise ZeroDivisionError(task.prompt)
        return task.prompt.upper()

    door = Door()
    door.is_open.set()
    batch = await fanout_of(answer, door).run(tasks_of(["a", "bad", "b"]), anyio.current_time() + 9)
    assert batch.answers == ["A", "", "B"]
    assert str(batch.errors[1]) == "a defect of the gateway, see its log"
    assert "ZeroDivisionError: bad" in caplog.text


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ({0: InvalidRequest("no"), 1: InvalidRequest("nor this")}, InvalidRequest),
        ({0: InvalidRequest("no"), 1: EngineFailure("garbage")}, EngineFailure),
        ({0: InvalidRequest("no")}, EngineTimeout),
    ],
    ids=["all refused", "one refused", "the others not asked in time"],
)
def test_a_batch_without_an_answer_tells_the_gravest_cause(
    errors: dict[int, GatewayError], raised: type[GatewayError]
) -> None:
    """A client that is told 400 does not send its batch again."""
    batch = Batch.of(tasks_of(["a", "b"]))
    for index, error in errors.items():
        batch.fail(index, error)
    with pytest.raises(raised):
        batch.raise_if_nothing()


async def test_a_batch_that_waits_lets_another_in(engine: FakeEngine) -> None:
    """One prompt does not wait for thousands that came before it and share calls."""
    order: list[str] = []
    await engine.set_script(Script(has_groups=True))
    async with running_service(
        settings_for(engine.url, batch_concurrency=64, prompts_per_call=16)
    ) as service:
        await engine.set_script(Script(has_groups=True, rules=[Rule(script.Delay(0.05))]))
        await engine.reset_stats()

        async def collect(name: str, prompts: list[str]) -> None:
            await service.fanout.run(tasks_of(prompts), anyio.current_time() + 60)
            order.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(collect, "many", [f"question {index}" for index in range(1600)])
            await engine.wait_until(lambda stats: stats.requests > 64)
            group.start_soon(collect, "one", ["single"])
            await engine.wait_until(lambda stats: "single" in stats.by_prompt)
            stats = await engine.stats()
    assert 16 in stats.group_sizes
    assert stats.requests < 800
    assert order == ["one", "many"]


async def test_workers_of_one_batch_share_its_last_prompts() -> None:
    """More workers than prompts are left when the gate opens: none takes from an empty queue."""
    door = Door()
    counter = itertools.count()

    async def answer(task: Task) -> str:
        return str(next(counter))

    fanout = fanout_of(answer, door, concurrency=2)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(fanout.run, tasks_of(["a", "b", "c"]), anyio.current_time() + 5)
        await let_others_run()
        door.is_open.set()
    assert next(counter) == 9
