"""What every kind of engine must come to through the gateway, each in its own words on the wire."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from gateway.settings import Settings
from tests.fakes.running import FakeEngine
from tests.fakes.script import Delay, Kind, Rule, Script, Status, Text
from tests.gateway.serving import Gateway, serving, settings_for

pytestmark = pytest.mark.anyio

# How ENGINE and ENGINE_API name what the fake imitates.
SETTINGS: dict[Kind, dict[str, Any]] = {
    "vllm": {"engine": "vllm"},
    "vllm-mindspore": {"engine": "vllm-mindspore"},
    "sglang": {"engine": "sglang"},
    "transformers": {"engine": "transformers"},
    "triton": {"engine": "triton"},
    "generate": {"engine": "triton", "engine_api": "generate"},
}
# Those that can be told of the template's own switch.
CAN_STOP_THINKING = ("vllm", "vllm-mindspore", "sglang", "transformers")
MODEL = "evalgate"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.fixture(params=list(SETTINGS))
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def script_of(kind: Kind, *rules: Rule, **fields: Any) -> Script:
    return Script(rules=rules, kind=kind, model=MODEL, **fields)


def settings_of(kind: Kind, fake: FakeEngine, **changes: Any) -> Settings:
    return settings_for(fake.url, **{**SETTINGS[kind], **changes})


@pytest.fixture
async def gateway(kind: Kind, fake: FakeEngine) -> AsyncIterator[Gateway]:
    await fake.set_script(script_of(kind))
    async with serving(settings_of(kind, fake)) as running:
        yield running


def given(body: dict[str, Any]) -> str:
    """All text of a request as the engine got it."""
    return str(body.get("text_input") or body["messages"])


async def test_one_prompt_is_answered(gateway: Gateway) -> None:
    assert (await gateway.predict("hello")).json() == {"response": "answer to: hello"}


async def test_a_batch_keeps_its_order(gateway: Gateway, fake: FakeEngine, kind: Kind) -> None:
    await fake.set_script(script_of(kind, Rule(Delay(0.0, 0.05))))
    prompts = [f"question {index}" for index in range(24)]
    answers = (await gateway.predict(prompts)).json()["response"]
    assert answers == [f"answer to: {prompt}" for prompt in prompts]


async def test_the_answer_s_budget_is_always_sent(gateway: Gateway, fake: FakeEngine) -> None:
    """Triton's frontend makes 16 tokens of a request that names none, transformers 1,024."""
    await gateway.predict("hello", max_new_tokens=7)
    assert (await fake.stats()).last_body["max_tokens"] == 7


async def test_the_system_prompt_comes_before_the_prompt(kind: Kind, fake: FakeEngine) -> None:
    await fake.set_script(script_of(kind))
    async with serving(settings_of(kind, fake, system_prompt="Be brief.")) as gateway:
        assert (await gateway.predict("hello")).status_code == 200
    text = given((await fake.stats()).last_body)
    assert 0 <= text.index("Be brief.") < text.index("hello")


async def test_thinking_is_off_where_the_engine_can_be_told_and_removed_anyway(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    await fake.set_script(script_of(kind, Rule(Text("<think>so so</think>42"), match="sum")))
    assert (await gateway.predict("the sum")).json() == {"response": "42"}
    sent = (await fake.stats()).last_body
    expected = {"enable_thinking": False} if kind in CAN_STOP_THINKING else None
    assert sent.get("chat_template_kwargs") == expected


async def test_a_stop_string_ends_the_answer_whoever_cuts_it(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    await fake.set_script(script_of(kind, Rule(Text("one two three"), match="count")))
    answer = (await gateway.predict("count", stop=["three", "two"])).json()["response"]
    assert answer == "one"
    sent = (await fake.stats()).last_body.get("stop")
    assert sent == (None if kind == "generate" else ["three", "two"])


async def test_a_refusal_is_told_in_the_engine_s_words_and_costs_no_other_answer(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    refusal = Status(400, "no such thing", style="own")
    await fake.set_script(script_of(kind, Rule(refusal, match="bad")))
    answers = (await gateway.predict(["good", "bad", "fine"])).json()["response"]
    assert answers == ["answer to: good", "", "answer to: fine"]
    reply = await gateway.predict("bad")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].endswith("no such thing")


async def test_an_error_that_passes_is_tried_again(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    error = Status(500, "scripted", style="own")
    await fake.set_script(script_of(kind, Rule(error, match="twice", times=2)))
    assert (await gateway.predict("twice")).json() == {"response": "answer to: twice"}


@pytest.mark.parametrize("kind", ["sglang", "triton", "generate"], indirect=True)
async def test_what_is_longer_than_the_context_is_shortened(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    await fake.set_script(script_of(kind, max_model_len=200))
    await fake.reset_stats()
    short, long = (await gateway.predict(["short", "x" * 5000], max_new_tokens=20)).json()[
        "response"
    ]
    assert short == "answer to: short"
    assert long.startswith("answer to: xxx")
    assert (await fake.stats()).requests == 2  # one refusal told all that was needed
    assert await gateway.sample("evalgate_prompts_shortened_total") == 1


async def test_health_is_looked_for_where_the_engine_has_it(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    await fake.set_script(dataclasses.replace(script_of(kind), health="503"))
    await gateway.wait_for_phase("lost")
    assert (await gateway.get("/")).status_code == 503
    await fake.set_script(script_of(kind))
    await gateway.wait_until_warm()
    assert (await gateway.get("/")).status_code == 200


async def test_an_engine_that_is_lost_and_back_answers_the_same_batch(
    kind: Kind,
) -> None:
    with FakeEngine.start(script_of(kind, Rule(Delay(30), match="slow", times=1))) as engine:
        async with serving(settings_of(kind, engine)) as gateway:
            batch = ["a", "slow", "b"]

            async def lose_it() -> None:
                await engine.wait_until(lambda stats: stats.working == 1)
                engine.kill()
                engine.start_again(script_of(kind))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose_it)
                reply = await gateway.predict(batch)
    assert reply.json()["response"] == [f"answer to: {prompt}" for prompt in batch]


@pytest.mark.parametrize("behind", ["vllm", "sglang", "transformers", "triton"])
async def test_an_external_engine_is_asked_in_the_fields_that_it_takes(
    behind: Kind, fake: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    await fake.set_script(script_of(behind))
    path = "/health/ready" if behind == "triton" else ""
    mine = settings_for(fake.url, engine="external", engine_health_path=path, top_k=5)
    async with serving(mine) as gateway:
        assert (await gateway.predict("hello")).json() == {"response": "answer to: hello"}
        sent = (await fake.stats()).last_body
    is_full = behind in ("vllm", "sglang")
    assert ("top_k" in sent) == is_full
    assert ("asked without TOP_K, REPETITION_PENALTY, ENABLE_THINKING" in caplog.text) != is_full


async def test_an_external_engine_without_a_health_route_is_asked_for_its_models(
    fake: FakeEngine,
) -> None:
    await fake.set_script(script_of("triton"))
    async with serving(settings_for(fake.url, engine="external")) as gateway:
        assert (await gateway.get("/")).status_code == 200


async def test_a_key_goes_with_every_request(fake: FakeEngine, kind: Kind) -> None:
    await fake.set_script(script_of(kind))
    async with serving(settings_of(kind, fake, engine_api_key="open-sesame")) as gateway:
        await gateway.predict("hello")
        assert (await fake.stats()).last_headers["authorization"] == "Bearer open-sesame"
        assert "open-sesame" not in (await gateway.get("/info")).text


async def test_our_ids_are_told_only_to_engines_that_bear_them(
    gateway: Gateway, fake: FakeEngine, kind: Kind
) -> None:
    """The batching of `transformers serve` 5.23 died of a warm-up whose calls had one id."""
    await gateway.predict(["a", "b"])
    is_told = "x-request-id" in (await fake.stats()).last_headers
    assert is_told == (kind in ("vllm", "vllm-mindspore", "sglang"))


async def test_sampling_goes_to_transformers_in_its_own_words(fake: FakeEngine) -> None:
    await fake.set_script(script_of("transformers"))
    mine = settings_of("transformers", fake, repetition_penalty=1.2, frequency_penalty=0.5)
    async with serving(mine) as gateway:
        await gateway.predict("hello")
    sent = (await fake.stats()).last_body
    assert sent["frequency_penalty"] == pytest.approx(0.2)
    assert "repetition_penalty" not in sent


async def test_tecos_first_wave_is_as_wide_as_it_wants(fake: FakeEngine) -> None:
    with FakeEngine.start(script_of("triton", Rule(Delay(0.3)))) as engine:
        mine = settings_of("triton", engine, ft_cb_batch_size=8, batch_concurrency=8)
        async with serving(mine):
            stats = await engine.stats()
    assert (stats.requests, stats.peak_running) == (8, 8)
