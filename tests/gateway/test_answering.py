from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answering import Answerer, fitting_budget, fitting_chars, shorten
from gateway.completion import RequestEncoder
from gateway.engine import Engine
from gateway.errors import EngineFailure, PromptTooLong
from gateway.metrics import Metrics
from gateway.policy import AnswerRules, Policy, Rule
from gateway.streaming import Draft
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Script
from tests.gateway.serving import SAMPLING, metric

pytestmark = pytest.mark.anyio
STYLES = ("vllm-0.10", "vllm-0.10.2", "vllm-new")
CONTEXT = 400
LONG = "HEAD " + "word " * 600 + "TAIL"


@asynccontextmanager
async def answering(
    engine: FakeEngine, policy: Policy | None = None
) -> AsyncIterator[tuple[Answerer, Metrics]]:
    encoder = RequestEncoder("evalgate", "", enable_thinking=False)
    metrics = Metrics()
    async with Engine(
        engine.url, encoder, max_connections=8, keepalive_s=30, health_timeout_s=30
    ) as client:
        yield Answerer(client, policy or Policy(), metrics), metrics


async def answer(answerer: Answerer, prompt: str, **changes: Any) -> str:
    own = changes.pop("has_own_budget", False)
    with anyio.fail_after(10):
        sampling = replace(SAMPLING, **changes)
        task = answerer.task(prompt, sampling, "test-0", has_own_budget=own)
        return await answerer.answer(task, Draft())


def sent_prompt(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def limited(style: Any, **changes: Any) -> Script:
    action = script.ContextLength(style, **changes)
    return Script(rules=[script.Rule(action)], max_model_len=CONTEXT)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("is_context_known", [False, True])
async def test_long_prompt_is_shortened_and_answered(
    engine: FakeEngine, style: str, is_context_known: bool
) -> None:
    await engine.set_script(limited(style, overhead_tokens=20))
    async with answering(engine) as (answerer, metrics):
        answerer.context_tokens = CONTEXT if is_context_known else 0
        text = await answer(answerer, LONG)
    stats = await engine.stats()
    sent = sent_prompt(stats.last_body)
    assert text.startswith("answer to: HEAD word")
    assert sent.startswith("HEAD ") and sent.endswith(" TAIL")
    assert len(sent) > CONTEXT / 2, "no more is cut than has to be"
    assert stats.requests <= 4
    assert metric(metrics, "evalgate_prompts_shortened_total") == 1


@pytest.mark.parametrize("style", STYLES)
async def test_prompt_that_fits_is_sent_as_it_is(engine: FakeEngine, style: str) -> None:
    await engine.set_script(limited(style))
    async with answering(engine) as (answerer, metrics):
        answerer.context_tokens = CONTEXT
        await answer(answerer, "x" * (CONTEXT - 64), max_new_tokens=64)
    stats = await engine.stats()
    assert (stats.requests, len(sent_prompt(stats.last_body))) == (1, CONTEXT - 64)
    assert metric(metrics, "evalgate_prompts_shortened_total") == 0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("budget", [CONTEXT - 10, CONTEXT, 10 * CONTEXT])
async def test_budget_over_the_context_is_cut_not_the_prompt(
    engine: FakeEngine, style: str, budget: int
) -> None:
    """A budget over the context failed short prompts, or cut them down to nothing."""
    await engine.set_script(limited(style))
    async with answering(engine) as (answerer, metrics):
        answerer.context_tokens = CONTEXT
        text = await answer(answerer, "what is a warp", max_new_tokens=budget)
    assert text == "answer to: what is a warp"
    assert (await engine.stats()).last_body["max_tokens"] >= CONTEXT / 2
    assert metric(metrics, "evalgate_prompts_shortened_total") == 0


@pytest.mark.parametrize("style", STYLES)
async def test_long_prompt_with_a_large_budget_keeps_half_of_the_context(
    engine: FakeEngine, style: str
) -> None:
    await engine.set_script(limited(style))
    async with answering(engine) as (answerer, metrics):
        answerer.context_tokens = CONTEXT
        text = await answer(answerer, LONG, max_new_tokens=CONTEXT)
    assert text.startswith("answer to: HEAD word")
    assert len(sent_prompt((await engine.stats()).last_body)) > CONTEXT / 3
    assert metric(metrics, "evalgate_prompts_shortened_total") == 1


async def test_prompt_exactly_as_long_as_the_context_is_answered(engine: FakeEngine) -> None:
    """vLLM 0.32 then has no token left to generate and complains of max_tokens instead."""
    await engine.set_script(limited("vllm-new"))
    async with answering(engine) as (answerer, _):
        answerer.context_tokens = CONTEXT
        assert await answer(answerer, "x" * CONTEXT)


async def test_prompt_is_halved_when_the_engine_tells_no_counts(engine: FakeEngine) -> None:
    refusal = script.Status(400, "context_length_exceeded")
    await engine.set_script([script.Rule(refusal, times=2)])
    async with answering(engine) as (answerer, _):
        assert await answer(answerer, "x" * 4000, max_new_tokens=4000)
    assert len(sent_prompt((await engine.stats()).last_body)) <= 1000


async def test_prompt_that_can_never_fit_is_refused_in_the_end(engine: FakeEngine) -> None:
    await engine.set_script([script.Rule(script.Status(400, "maximum context length is 0"))])
    async with answering(engine) as (answerer, metrics):
        with pytest.raises(PromptTooLong):
            await answer(answerer, LONG)
    assert (await engine.stats()).requests == 21
    assert metric(metrics, "evalgate_prompts_shortened_total") == 0


async def test_megabytes_are_cut_before_the_engine_has_to_count_them(engine: FakeEngine) -> None:
    await engine.set_script(limited("vllm-0.10"))
    async with answering(engine) as (answerer, _):
        answerer.context_tokens = CONTEXT
        assert await answer(answerer, "x" * 3_000_000)
    stats = await engine.stats()
    assert max(map(len, stats.by_prompt)) == CONTEXT * 16


POLICY = Policy(
    answer=AnswerRules(max_sentences=2),
    rules=(
        Rule(name="code", keywords=("kernel",), max_new_tokens=900),
        Rule(name="short", keywords=("what",), answer=AnswerRules(max_sentences=1)),
    ),
)


async def test_policy_sets_the_budget(engine: FakeEngine) -> None:
    async with answering(engine, POLICY) as (answerer, _):
        await answer(answerer, "write a KERNEL", max_new_tokens=64)
        assert (await engine.stats()).last_body["max_tokens"] == 900
        await answer(answerer, "what is a warp", max_new_tokens=64)
        assert (await engine.stats()).last_body["max_tokens"] == 64, "a rule without a budget"
        await answer(answerer, "explain", max_new_tokens=64)
        assert (await engine.stats()).last_body["max_tokens"] == 64, "no rule"


async def test_requests_own_budget_wins_over_the_policy(engine: FakeEngine) -> None:
    async with answering(engine, POLICY) as (answerer, _):
        await answer(answerer, "write a kernel", max_new_tokens=5, has_own_budget=True)
    assert (await engine.stats()).last_body["max_tokens"] == 5


async def test_policy_cuts_the_answer(engine: FakeEngine) -> None:
    await engine.set_script([script.Rule(script.Text("One. Two. Three. Four."))])
    async with answering(engine, POLICY) as (answerer, _):
        assert await answer(answerer, "what is a warp") == "One."
        assert await answer(answerer, "explain") == "One. Two."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<think>\nhm\n</think>\n\n线程束。<|im_end|>", "线程束。"),
        ("hm\n</think>\n\n线程束。", "线程束。"),
        ("线程束。\n<think>and then", "线程束。"),
        ("<think>only this", "only this"),
        ("  spaced  \n", "spaced"),
        ("", ""),
    ],
)
async def test_answer_is_cleaned(engine: FakeEngine, content: str, expected: str) -> None:
    await engine.set_script([script.Rule(script.Text(content))])
    async with answering(engine) as (answerer, _):
        assert await answer(answerer, "什么是线程束") == expected


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_beside_the_content_is_left_out(engine: FakeEngine, name: Any) -> None:
    await engine.set_script([script.Rule(script.Reasoning("secret thoughts", name, "32"))])
    async with answering(engine) as (answerer, _):
        assert await answer(answerer, "how wide is a warp") == "32"


async def test_tokens_are_counted(engine: FakeEngine) -> None:
    async with answering(engine) as (answerer, metrics):
        await answer(answerer, "one two three")
    assert metric(metrics, "evalgate_tokens_total", kind="prompt") == 3
    assert metric(metrics, "evalgate_tokens_total", kind="completion") == 5


async def test_engine_errors_pass_through(engine: FakeEngine) -> None:
    await engine.set_script([script.Rule(script.Status(500))])
    async with answering(engine) as (answerer, _):
        with pytest.raises(EngineFailure):
            await answer(answerer, "hello")


@given(
    chars=st.integers(1, 10**6),
    tokens=st.integers(0, 10**6),
    context=st.integers(0, 10**5),
    budget=st.integers(1, 10**5),
)
def test_fitting_always_gets_smaller_and_stays_positive(
    chars: int, tokens: int, context: int, budget: int
) -> None:
    assert 0 <= fitting_chars(chars, tokens, context, budget) < chars
    assert fitting_budget(tokens, context, budget) <= budget


@given(st.text("ab文", max_size=60), st.integers(0, 60))
def test_shortened_prompt_keeps_head_and_tail(prompt: str, chars: int) -> None:
    shortened = shorten(prompt, chars)
    assert len(shortened) == min(len(prompt), chars)
    if len(prompt) > chars > 10:
        assert shortened[:3] == prompt[:3] and shortened[-3:] == prompt[-3:]
