"""When an engine counts as hung: the judge by an invented clock, the loop against a fake engine."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.client import HTTPConnection

import anyio
import pytest

from launcher.engines.base import Counters, EnginePlan, Question
from launcher.engines.vllm import canary
from launcher.engines.vllm_metrics import read_counters
from launcher.settings import LauncherSettings
from launcher.watchdog import MIN_LOOKS, Judge, Patience, Watchdog
from tests.fakes.running import FakeEngine
from tests.fakes.script import Delay, Hold, Rule, Script, Stall

PATIENCE = Patience(interval_s=5, stall_s=45, silent_s=60, canary_s=15)
# Kernels are compiled by then.
LATER = 1000.0


class Case:
    """A judge that is fed looks at its engine, one every five seconds."""

    def __init__(self, now: float = LATER) -> None:
        self.judge = Judge(PATIENCE, 0.0)
        self.judge.look(now)
        self.judge.note_answer(now)
        self.now = now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.judge.look(self.now)

    def see(self, in_flight: int, progress: float, cpu_s: float = 0.0) -> str | None:
        """Five seconds on, the engine answers with these counts."""
        self.pass_time(5)
        self.judge.note_answer(self.now)
        self.judge.note_counters(Counters(in_flight, progress), self.now, cpu_s)
        return self.judge.verdict(self.now)

    def see_late(self) -> str | None:
        """Ten seconds on, the metrics have not come; the health route answers."""
        self.pass_time(10)
        self.judge.note_answer(self.now)
        return self.judge.verdict(self.now)

    def see_nothing(self) -> str | None:
        self.pass_time(15)
        return self.judge.verdict(self.now)


def test_work_without_progress_is_a_hang_after_the_limit() -> None:
    case = Case()
    assert [case.see(12, 7) for _ in range(9)] == [None] * 9
    assert case.see(12, 7) == "hung: 12 requests in flight, no progress for 45 s"


def test_one_request_is_enough() -> None:
    case = Case()
    verdicts = [case.see(1, 7) for _ in range(10)]
    assert verdicts[-1] == "hung: 1 request in flight, no progress for 45 s"


def test_any_step_begins_anew() -> None:
    case = Case()
    for step in range(20):
        assert [case.see(12, step) for _ in range(9)] == [None] * 9


def test_an_idle_engine_is_none_that_hangs() -> None:
    case = Case()
    assert [case.see(0, 7) for _ in range(100)] == [None] * 100


def test_waiting_begins_with_the_work_not_with_the_rest_before_it() -> None:
    case = Case()
    for _ in range(100):
        case.see(0, 7)
    assert [case.see(3, 7) for _ in range(9)] == [None] * 9
    assert case.see(3, 7) is not None


def test_work_that_ended_between_looks_begins_anew() -> None:
    case = Case()
    for _ in range(9):
        case.see(1, 7)
    assert case.see(0, 8) is None
    assert [case.see(1, 8) for _ in range(9)] == [None] * 9


def test_late_answers_are_no_evidence_but_do_not_hide_a_hang() -> None:
    case = Case()
    assert case.see(12, 7) is None
    assert [case.see_late() for _ in range(50)] == [None] * 50
    assert [case.see(12, 7) for _ in range(MIN_LOOKS - 2)] == [None] * (MIN_LOOKS - 2)
    assert case.see(12, 7) is not None


def test_a_slow_engine_that_made_a_step_behind_late_answers_is_working() -> None:
    case = Case()
    case.see(12, 7)
    for _ in range(50):
        case.see_late()
    assert case.see(12, 8) is None
    assert [case.see(12, 8) for _ in range(8)] == [None] * 8


def test_a_gap_in_our_own_looking_is_not_held_against_the_engine() -> None:
    """A machine that was suspended, a container that was paused: nobody made progress."""
    case = Case()
    for _ in range(9):
        case.see(12, 7)
    case.pass_time(3600)
    assert case.judge.verdict(case.now) is None
    assert [case.see(12, 7) for _ in range(9)] == [None] * 9
    assert case.see(12, 7) is not None


def test_the_first_steps_may_take_twice_as_long() -> None:
    case = Case(now=0.0)
    verdicts = [case.see(12, 7) for _ in range(18)]
    assert verdicts[:-1] == [None] * 17
    assert verdicts[-1] == "hung: 12 requests in flight, no progress for 85 s"


def test_an_engine_that_computes_on_the_processor_may_take_longer_over_a_step() -> None:
    case = Case()
    verdicts = [case.see(12, 7, cpu_s=2 * 5 * number) for number in range(37)]
    assert verdicts[:-1] == [None] * 36
    assert verdicts[-1] == "hung: 12 requests in flight, no progress for 180 s"


def test_an_engine_that_only_polls_on_the_processor_may_not() -> None:
    case = Case()
    assert [case.see(12, 7, cpu_s=0.3 * 5 * number) for number in range(10)][-1] is not None


def test_silence_is_a_hang_also_of_an_idle_engine() -> None:
    case = Case()
    case.see(0, 7)
    assert [case.see_nothing() for _ in range(3)] == [None] * 3
    assert case.see_nothing() == "hung: no answer on its port for 60 s"


def test_any_answer_ends_a_silence() -> None:
    case = Case()
    for _ in range(20):
        assert [case.see_nothing() for _ in range(3)] == [None] * 3
        case.judge.note_answer(case.now)


def test_a_canary_is_work_that_the_engine_has_not_counted() -> None:
    """A step that hangs first after a rest: vLLM still counts no request."""
    case = Case()
    assert case.see(0, 7) is None
    assert case.judge.makes_no_step(case.now)
    case.judge.has_canary = True
    assert [case.see(0, 7) for _ in range(9)] == [None] * 9
    assert case.see(0, 7) == "hung: 1 request in flight, no progress for 45 s"


def test_an_engine_at_work_is_asked_for_a_token_only_once_it_stands_still() -> None:
    case = Case()
    assert not case.judge.makes_no_step(case.now), "nothing is known yet"
    for step in range(10):
        case.see(12, step)
        assert not case.judge.makes_no_step(case.now)
    case.see(12, 9)
    case.see(12, 9)
    assert not case.judge.makes_no_step(case.now)
    case.see(12, 9)
    assert case.judge.makes_no_step(case.now)


# The loop, in real time but with little patience.
QUICK = Patience(interval_s=0.05, stall_s=0.3, silent_s=0.6, canary_s=0)
# Where nothing is to be found: a machine that stands still a second is no engine that hangs.
NOT_SILENT = replace(QUICK, silent_s=30)
PATIENT = replace(NOT_SILENT, stall_s=30)


def plan(engine: FakeEngine, question: Question | None = None) -> EnginePlan:
    return EnginePlan(
        "", (), {}, engine.url, "/health", read_counters=read_counters, canary=question
    )


def ask(engine: FakeEngine) -> None:
    """Ask and do not wait for the answer."""

    def wait() -> None:
        connection = HTTPConnection("127.0.0.1", engine.port, timeout=60)
        body = b'{"messages": [{"role": "user", "content": "x"}]}'
        try:
            connection.request("POST", "/v1/chat/completions", body)
            connection.getresponse().read()
        except OSError:
            pass  # the engine was ended with the test
        finally:
            connection.close()

    threading.Thread(target=wait, daemon=True).start()


async def verdict(engine: FakeEngine, patience: Patience = QUICK, limit_s: float = 20) -> str:
    with anyio.fail_after(limit_s):
        return await Watchdog(plan(engine), patience).watch()


async def is_left_alone(engine: FakeEngine, patience: Patience, time_s: float = 1.5) -> bool:
    """Whether there is no verdict in several times the patience."""
    with anyio.move_on_after(time_s) as limit:
        await Watchdog(plan(engine), patience).watch()
    return limit.cancelled_caught


@asynccontextmanager
async def watched(watchdog: Watchdog) -> AsyncIterator[None]:
    """Run a watchdog that is to find nothing while the body waits for what it does."""

    async def watch() -> None:
        raise AssertionError(await watchdog.watch())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            yield
            tasks.cancel_scope.cancel()


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.mark.anyio
async def test_a_stalled_engine_is_found() -> None:
    with FakeEngine.start([Rule(Stall())]) as engine:
        ask(engine)
        ask(engine)
        await engine.wait_until(lambda stats: stats.running == 2)
        assert (await verdict(engine, NOT_SILENT)).startswith(
            "hung: 2 requests in flight, no progress for "
        )


@pytest.mark.anyio
async def test_a_slow_engine_is_left_alone() -> None:
    with FakeEngine.start([Rule(Delay(30))]) as engine:
        ask(engine)
        await engine.wait_until(lambda stats: stats.running == 1)
        assert await is_left_alone(engine, NOT_SILENT)


@pytest.mark.anyio
async def test_an_idle_engine_is_left_alone_and_asked_nothing(engine: FakeEngine) -> None:
    assert await is_left_alone(engine, NOT_SILENT)
    assert (await engine.stats()).requests == 0


@pytest.mark.anyio
async def test_a_silent_engine_is_found(engine: FakeEngine) -> None:
    engine.freeze()
    assert (await verdict(engine)).startswith("hung: no answer on its port for ")


@pytest.mark.anyio
async def test_a_port_that_refuses_is_silent(engine: FakeEngine) -> None:
    engine.kill()
    assert (await verdict(engine)).startswith("hung: no answer on its port for ")


@pytest.mark.anyio
async def test_an_engine_that_counts_nothing_is_watched_for_silence(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(plan(engine), metrics_path="/no-metrics")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Watchdog(other, replace(QUICK, silent_s=3)).watch)
            with anyio.fail_after(10):
                while "watching only whether it answers" not in caplog.text:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            engine.freeze()
    assert caplog.text.count("watching only whether it answers") == 1


@pytest.mark.anyio
async def test_an_idle_engine_is_asked_for_a_token_now_and_then(engine: FakeEngine) -> None:
    patience = replace(PATIENT, canary_s=0.1)
    settings = LauncherSettings(engine_api_key="sesame")
    begun_at = anyio.current_time()
    async with watched(Watchdog(plan(engine, canary(settings)), patience)):
        stats = await engine.wait_until(lambda stats: stats.requests > 2 and stats.running == 0)
    assert anyio.current_time() - begun_at >= stats.requests * patience.canary_s
    assert (stats.last_body["max_tokens"], stats.last_body["model"]) == (1, "evalgate")
    assert stats.last_headers["authorization"] == "Bearer sesame"


@pytest.mark.anyio
async def test_an_idle_engine_that_hangs_is_found_by_its_token() -> None:
    with FakeEngine.start([Rule(Hold())]) as engine:
        patience = replace(NOT_SILENT, canary_s=0.1)
        watchdog = Watchdog(plan(engine, canary(LauncherSettings())), patience)
        with anyio.fail_after(20):
            assert (await watchdog.watch()).startswith("hung: 1 request in flight, no progress")
        assert (await engine.stats()).peak_running == 1, "it is not asked again meanwhile"


@pytest.mark.anyio
async def test_requests_that_are_counted_on_after_they_were_given_up_are_no_hang(
    engine: FakeEngine,
) -> None:
    """vLLM 0.10 tells what was in flight at its last step with an answer."""
    shown = Counters(12, 0)

    def read_late(text: str) -> Counters | None:
        nonlocal shown
        told = read_counters(text)
        if told is not None and told.progress != shown.progress:
            shown = told
        return shown

    late = replace(plan(engine, canary(LauncherSettings())), read_counters=read_late)
    patience = replace(NOT_SILENT, stall_s=1, canary_s=0.2)
    async with watched(Watchdog(late, patience)):
        with anyio.fail_after(10):
            while shown.in_flight:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        await anyio.sleep(3)  # longer than the patience, also while kernels compile


@pytest.mark.anyio
async def test_an_engine_that_refuses_the_question_is_asked_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FakeEngine.start(Script(model="another")) as engine:
        patience = replace(PATIENT, canary_s=0.05)
        async with watched(Watchdog(plan(engine, canary(LauncherSettings())), patience)):
            while not caplog.messages:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            await anyio.sleep(0.5)  # ten times what it would wait before it asks again
    assert caplog.messages == ["the engine answers the watchdog with 404: it is asked no more"]
