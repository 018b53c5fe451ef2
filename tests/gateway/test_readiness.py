from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import pytest

from gateway.engine import Health
from gateway.errors import EngineFailure, EngineNotReady
from gateway.metrics import Metrics
from gateway.phase import Phase
from gateway.readiness import Readiness
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import (
    Gateway,
    metric,
    running_service,
    serving,
    settings_for,
    wait_until,
)
from tests.ports import free_port

pytestmark = pytest.mark.anyio
OwnEngine = Callable[[Script], FakeEngine]
UP, DOWN, UNSURE = Health.UP, Health.DOWN, Health.UNSURE


async def shown(gateway: Gateway) -> tuple[int, str, int, int]:
    """What `GET /` says, and the status codes of /readyz and /livez."""
    root, ready, live = [await gateway.get(path) for path in ("/", "/readyz", "/livez")]
    return root.status_code, root.json()["status"], ready.status_code, live.status_code


WARMING = (503, "warming", 503, 200)
READY = (200, "batch", 200, 200)


async def test_follows_the_engine_from_start_to_loss_and_back() -> None:
    port = free_port()
    held = Script(rules=[Rule(script.Hold())])
    settings = settings_for(f"http://127.0.0.1:{port}", batch_concurrency=6)
    async with serving(settings, is_warm=False) as gateway:
        told = await gateway.info()
        assert (told["phase"], await shown(gateway)) == ("starting", WARMING)
        assert await gateway.sample("evalgate_engine_phase", phase="starting") == 1
        with await anyio.to_thread.run_sync(lambda: FakeEngine.start(held, port=port)) as engine:
            for _ in range(2):
                await engine.wait_until(lambda stats: stats.running == 1)
                told = await gateway.info()
                assert (told["phase"], await shown(gateway)) == ("warming", WARMING)
                await engine.release()
                stats = await engine.wait_until(lambda stats: stats.running == 6)
                assert await shown(gateway) == WARMING
                await engine.release()
                told = await gateway.wait_for_phase("ready")
                assert (told["reason"], await shown(gateway)) == ("", READY)
                assert (await engine.stats()).peak_running == 6, "as wide as the concurrency"
                assert stats.requests == 7

                engine.kill()
                told = await gateway.wait_for_phase("lost")
                assert "does not answer" in told["reason"]
                assert await shown(gateway) == WARMING
                await anyio.to_thread.run_sync(engine.start_again, held)
        assert await gateway.sample("evalgate_engine_losses_total") == 2
        assert await gateway.sample("evalgate_engine_phase", phase="ready") == 0


@pytest.mark.parametrize("startup", ["503", "refused"])
async def test_engine_that_is_slow_to_start_is_awaited(own_engine: OwnEngine, startup: Any) -> None:
    engine = own_engine(Script(startup=startup, startup_s=3))
    async with serving(settings_for(engine.url), is_warm=False) as gateway:
        assert await shown(gateway) == WARMING
        assert (await gateway.predict("hello")).json() == {"response": "answer to: hello"}
        assert await shown(gateway) == READY
        assert await gateway.sample("evalgate_warmup_seconds") > 0


@pytest.mark.parametrize(("batch_mode", "word"), [(True, "batch"), (False, "ok")])
async def test_root_tells_the_mode(engine: FakeEngine, batch_mode: bool, word: str) -> None:
    async with serving(settings_for(engine.url, batch_mode=batch_mode)) as gateway:
        assert (await gateway.get("/")).json() == {"status": word}
        assert (await gateway.get("/readyz")).json() == {"status": "ok"}


async def test_root_answers_from_memory_while_the_engine_hangs(engine: FakeEngine) -> None:
    settings = settings_for(engine.url, health_timeout_s=30)
    async with serving(settings) as gateway:
        await engine.set_script(Script(rules=[Rule(script.Stall())], health="stall"))
        async with anyio.create_task_group() as group:
            group.start_soon(gateway.predict, ["stall"] * 1000)
            await engine.wait_until(lambda stats: stats.running == 8)
            for _ in range(5):
                with anyio.fail_after(10):
                    assert await shown(gateway) == READY
            group.cancel_scope.cancel()


async def test_hanging_health_route_counts_as_lost_after_its_strikes(engine: FakeEngine) -> None:
    settings = settings_for(engine.url, health_timeout_s=0.1, health_strikes=3)
    async with serving(settings) as gateway:
        started = anyio.current_time()
        await engine.set_script(Script(health="stall"))
        told = await gateway.wait_for_phase("lost")
        assert anyio.current_time() - started >= 0.3
        assert "timed out 3 times" in told["reason"]
        await engine.set_script(Script())
        await gateway.wait_until_warm()


async def test_error_status_of_the_health_route_counts_as_lost_at_once(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, health_strikes=100)) as gateway:
        await engine.set_script(Script(health="503"))
        await gateway.wait_for_phase("lost")


async def test_reset_call_brings_a_new_look_at_once(engine: FakeEngine) -> None:
    """With a minute between two looks, a prompt that met a reset must not wait for the next."""
    async with running_service(settings_for(engine.url, health_interval_s=60)) as service:
        await engine.set_script(Script(health="503"))
        service.readiness.suspect()
        await wait_until(lambda: service.readiness.phase is Phase.LOST)


async def test_suspicion_that_proves_wrong_opens_the_gate_again(engine: FakeEngine) -> None:
    async with running_service(settings_for(engine.url, health_interval_s=60)) as service:
        await engine.reset_stats()
        service.readiness.suspect()
        assert service.readiness.is_ready, "one reset connection is not a lost engine"
        with anyio.fail_after(5):
            await service.readiness.wait_until_ready()
        assert (await engine.stats()).requests == 0, "no new warm-up"
        assert service.readiness.losses == 0


async def test_warm_up_budget_ends_the_wave_after_a_success(engine: FakeEngine) -> None:
    rules = [Rule(script.Answer(), times=1), Rule(script.Stall())]
    await engine.set_script(rules)
    settings = settings_for(engine.url, warmup_budget_s=3)
    async with serving(settings, is_warm=False) as gateway:
        started = anyio.current_time()
        await gateway.wait_until_warm()
        assert anyio.current_time() - started < 13
        stats = await engine.wait_until(lambda stats: stats.running == 0)
        assert (stats.peak_running, stats.cancelled) == (8, 8)


async def test_first_completion_must_come_inside_the_budget(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Stall())])
    settings = settings_for(engine.url, warmup_budget_s=0.1, health_interval_s=0.3)
    async with serving(settings, is_warm=False) as gateway:
        with anyio.fail_after(10):
            while "WARMUP_BUDGET_S (0.1 s)" not in (await gateway.info())["reason"]:
                assert await shown(gateway) == WARMING
        await engine.set_script(Script())
        await gateway.wait_until_warm()


async def test_wrong_model_keeps_it_warming_and_tells_why(engine: FakeEngine) -> None:
    await engine.set_script(Script(model="other"))
    settings = settings_for(engine.url, served_model_name="mine")
    async with serving(settings, is_warm=False) as gateway:
        told = await gateway.wait_for_phase("warming")
        with anyio.fail_after(10):
            while "The model `mine` does not exist" not in told["reason"]:
                told = await gateway.info()
        assert await shown(gateway) == WARMING
        assert any("`mine`" in line["message"] for line in told["last_errors"])
        await engine.set_script(Script(model="mine"))
        await gateway.wait_until_warm()


async def test_loss_in_the_wave_starts_the_warm_up_over(engine: FakeEngine) -> None:
    lost = Rule(script.Status(500, "EngineDeadError"), times=1)
    await engine.set_script([Rule(script.Answer(), times=3), lost])
    async with serving(settings_for(engine.url), is_warm=False) as gateway:
        await gateway.wait_until_warm()
        assert (await engine.stats()).requests == 2 * (1 + 8)
        assert await gateway.sample("evalgate_engine_losses_total") == 0, "it was never ready"


async def test_failing_prompts_in_the_wave_do_not_keep_it_cold(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Answer(), times=1), Rule(script.Garbage())])
    async with serving(settings_for(engine.url)) as gateway:
        assert await shown(gateway) == READY


async def test_warm_up_sends_the_system_prompt_and_own_questions(
    engine: FakeEngine, tmp_path: Any
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"prompt": "own one"}\n{"prompt": "own two"}\n', encoding="utf-8")
    settings = settings_for(
        engine.url,
        system_prompt="Be brief.",
        warmup_data_path=questions,
        warmup_max_new_tokens=3,
    )
    async with serving(settings):
        stats = await engine.stats()
    assert stats.by_prompt == {"own one": 5, "own two": 4}
    assert stats.last_body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert stats.last_body["max_tokens"] == 3
    assert stats.last_headers["x-request-id"].startswith("warm-up-")


class Looks:
    """A scripted series of looks; the test waits until it is used up."""

    def __init__(self, looks: Iterable[Health]) -> None:
        self._looks = iter(looks)
        self.is_over = anyio.Event()

    async def __call__(self) -> Health:
        look = next(self._looks, None)
        if look is None:
            self.is_over.set()
            await anyio.sleep_forever()
        assert look is not None
        return look


async def phases_after(
    looks: Iterable[Health],
    warm_up: Callable[[], Awaitable[None]],
    *,
    strikes: int = 3,
) -> tuple[Readiness, Metrics]:
    metrics = Metrics()
    look = Looks(looks)
    readiness = Readiness(look, warm_up, metrics, interval_s=0, strikes=strikes)
    async with anyio.create_task_group() as group:
        group.start_soon(readiness.run)
        with anyio.fail_after(5):
            await look.is_over.wait()
        group.cancel_scope.cancel()
    return readiness, metrics


async def succeed() -> None:
    return


@pytest.mark.parametrize(
    ("looks", "phase", "losses"),
    [
        ([], Phase.STARTING, 0),
        ([DOWN, UNSURE, UNSURE, UNSURE, DOWN], Phase.STARTING, 0),
        ([DOWN, UP], Phase.READY, 0),
        ([UP, UNSURE, UNSURE], Phase.READY, 0),
        ([UP, UNSURE, UNSURE, UP, UNSURE, UNSURE], Phase.READY, 0),
        ([UP, UNSURE, UNSURE, UNSURE], Phase.LOST, 1),
        ([UP, UNSURE, UNSURE, UNSURE, UNSURE], Phase.LOST, 1),
        ([UP, DOWN], Phase.LOST, 1),
        ([UP, DOWN, DOWN, UP], Phase.READY, 1),
        ([UP, DOWN, UP, DOWN], Phase.LOST, 2),
    ],
)
async def test_looks_decide_the_phase(looks: list[Health], phase: Phase, losses: int) -> None:
    readiness, metrics = await phases_after(looks, succeed)
    assert (readiness.phase, readiness.losses) == (phase, losses)
    assert readiness.is_ready is (phase is Phase.READY)
    assert metric(metrics, "evalgate_engine_losses_total") == losses
    assert metric(metrics, "evalgate_engine_phase", phase=phase.value) == 1


async def test_lost_again_in_the_warm_up_after_a_loss_stays_lost() -> None:
    outcomes = itertools.chain([None], itertools.repeat(EngineNotReady("gone")))

    async def warm_up() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    readiness, _ = await phases_after([UP, DOWN, UP], warm_up)
    assert (readiness.phase, readiness.losses) == (Phase.LOST, 1)
    assert "lost in the warm-up: gone" in readiness.reason


async def test_failing_warm_up_stays_warming() -> None:
    async def warm_up() -> None:
        raise EngineFailure("no such model")

    readiness, _ = await phases_after([UP, UP], warm_up)
    assert readiness.phase is Phase.WARMING
    assert "no such model" in readiness.reason


async def test_suspicion_before_warmth_changes_nothing() -> None:
    looks = 0

    async def look() -> Health:
        nonlocal looks
        looks += 1
        return DOWN

    readiness = Readiness(look, succeed, Metrics(), interval_s=60, strikes=1)
    readiness.suspect()
    with anyio.move_on_after(0.5):
        await readiness.run()
    assert (readiness.phase, looks) == (Phase.STARTING, 1), "the next look is made in its turn"


async def test_a_look_from_before_a_suspicion_opens_no_gate() -> None:
    looks = 0
    answer = anyio.Event()

    async def look() -> Health:
        nonlocal looks
        looks += 1
        if looks == 2:
            await answer.wait()
        return UP if looks < 3 else DOWN

    readiness = Readiness(look, succeed, Metrics(), interval_s=0.01, strikes=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(readiness.run)
        with anyio.fail_after(10):
            while looks < 2:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            readiness.suspect()
            answer.set()
            with anyio.move_on_after(0.3) as limit:
                await readiness.wait_until_ready()
        assert limit.cancelled_caught
        tasks.cancel_scope.cancel()


async def test_a_look_that_breaks_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """With nobody looking any more, the last phase was told for ever."""

    async def break_once() -> None:
        if not caplog.messages:
            raise ZeroDivisionError("a defect")

    with caplog.at_level("ERROR"):
        readiness, _ = await phases_after([UP, UP], break_once)
    assert readiness.phase is Phase.READY
    assert "ZeroDivisionError: a defect" in caplog.text
