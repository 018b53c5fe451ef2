from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from gateway.completion import Completion, RequestEncoder
from gateway.engine import MAX_COMPLETION_BYTES, Engine, Health
from gateway.errors import (
    EngineFailure,
    EngineLost,
    EngineNotReady,
    InvalidRequest,
    PromptTooLong,
)
from gateway.refusals import translate
from gateway.streaming import Draft
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import SAMPLING, reply_of, saying
from tests.ports import free_port

pytestmark = pytest.mark.anyio
OwnEngine = Callable[[Script], FakeEngine]
COMPLETIONS = "/v1/chat/completions"
PROBES = {
    "on": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "after_s": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "every_s": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "times": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
}


@asynccontextmanager
async def client_of(url: str, **changes: Any) -> AsyncIterator[Engine]:
    options = {"max_connections": 8, "keepalive_s": 30.0, "health_timeout_s": 30.0, **changes}
    is_stream = options.pop("is_stream", True)
    encoder = RequestEncoder("evalgate", "Be brief.", enable_thinking=False, is_stream=is_stream)
    async with Engine(url, encoder, **options) as client:
        yield client


async def ask(client: Engine, prompt: str = "hello") -> Completion:
    with anyio.fail_after(10):
        return await client.complete(prompt, SAMPLING, "test-0")


async def ask_at_once(client: Engine, prompts: list[str]) -> dict[str, str]:
    answers: dict[str, str] = {}

    async def ask_one(prompt: str) -> None:
        answers[prompt] = (await ask(client, prompt)).text

    async with anyio.create_task_group() as group:
        for prompt in prompts:
            group.start_soon(ask_one, prompt)
    return answers


@pytest.mark.parametrize("is_stream", [True, False])
async def test_completes_a_prompt(engine: FakeEngine, is_stream: bool) -> None:
    async with client_of(engine.url, is_stream=is_stream) as client:
        completion = await ask(client, "what is a warp")
    assert completion == Completion("answer to: what is a warp", "stop", 5, 6)


async def test_sends_all_sampling_with_thinking_off(engine: FakeEngine) -> None:
    sampling = replace(
        SAMPLING,
        max_new_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        repetition_penalty=1.1,
        frequency_penalty=0.2,
        stop=("\n\n", "完"),
    )
    async with client_of(engine.url) as client:
        await client.complete('quote " and \\ and \0 and 中文', sampling, "test-0")
    assert (await engine.stats()).last_body == {
        "model": "evalgate",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": 'quote " and \\ and \0 and 中文'},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
        "stop": ["\n\n", "完"],
        "chat_template_kwargs": {"enable_thinking": False},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_sends_api_key_and_request_id(engine: FakeEngine) -> None:
    async with client_of(engine.url, api_key="secret") as client:
        await client.complete("hello", SAMPLING, "batch-17")
    headers = (await engine.stats()).last_headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-request-id"].startswith("batch-17-")
    assert headers["content-type"] == "application/json"


async def test_calls_of_one_id_are_told_apart(engine: FakeEngine) -> None:
    """vLLM before 0.14 refuses an id that is under way."""
    await engine.set_script([Rule(script.Delay(0.3))])
    async with client_of(engine.url) as client, anyio.create_task_group() as calls:
        for _ in range(3):
            calls.start_soon(client.complete, "hello", SAMPLING, "same")
    assert (await engine.stats()).peak_running == 3


async def test_sends_no_authorization_without_a_key(engine: FakeEngine) -> None:
    async with client_of(engine.url) as client:
        await ask(client)
    assert "authorization" not in (await engine.stats()).last_headers


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_ignores_proxies_of_the_environment(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with client_of(engine.url) as client:
        assert (await ask(client)).text == "answer to: hello"
        assert await client.health() is Health.UP


@pytest.mark.parametrize("break_reused", [Script(reset_on_reuse=300), Script(close_on_reuse=300)])
async def test_answers_when_every_reused_connection_breaks(
    engine: FakeEngine, break_reused: Script
) -> None:
    """The keep-alive race: 358 idle connections, closed by the engine as requests went out."""
    prompts = [f"question {index}" for index in range(300)]
    async with client_of(engine.url, max_connections=300) as client:
        await engine.set_script([Rule(script.Hold())])
        async with anyio.create_task_group() as group:
            group.start_soon(ask_at_once, client, prompts)
            await engine.wait_until(lambda stats: stats.running == 300)
            await engine.release()
        await engine.set_script(break_reused)
        await engine.reset_stats()
        answers = await ask_at_once(client, prompts)
    assert answers == {prompt: f"answer to: {prompt}" for prompt in prompts}
    stats = await engine.stats()
    assert stats.accepted == 300, "each was sent again on a connection of its own"
    assert set(stats.by_prompt.values()) == {1}


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_answers_after_the_engine_closed_idle_connections(
    engine: FakeEngine, how: Any
) -> None:
    prompts = [f"question {index}" for index in range(50)]
    await engine.set_script(Script(idle_close_s=0.05, idle_close=how))
    async with client_of(engine.url, max_connections=50) as client:
        await ask_at_once(client, prompts)
        await engine.wait_until(lambda stats: stats.connections == 0)
        assert len(await ask_at_once(client, prompts)) == 50


async def test_reuses_connections(engine: FakeEngine) -> None:
    async with client_of(engine.url) as client:
        for _ in range(20):
            await ask(client)
    assert (await engine.stats()).accepted == 1


async def test_drops_connections_idle_for_longer_than_its_keepalive(engine: FakeEngine) -> None:
    async with client_of(engine.url, keepalive_s=0.05) as client:
        await ask(client)
        await engine.wait_until(lambda stats: stats.connections == 0)


async def test_refused_connection_means_not_ready() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(EngineNotReady, match="cannot be reached"):
            await ask(client)


async def test_unresolvable_host_means_not_ready() -> None:
    async with client_of("http://engine.invalid:8001") as client:
        with pytest.raises(EngineNotReady, match="cannot be reached"):
            await ask(client)


@pytest.mark.parametrize(
    "action",
    [
        script.Reset("mid_body"),
        script.Close("mid_body"),
        script.Reset("after_headers"),
        script.Close("after_headers"),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_broken_off_answer_means_lost_and_is_not_asked_again(
    engine: FakeEngine, action: script.Action, is_stream: bool
) -> None:
    await engine.set_script([Rule(action)])
    async with client_of(engine.url, is_stream=is_stream) as client:
        with pytest.raises(EngineLost, match="the engine (broke|ended)"):
            await ask(client)
    assert (await engine.stats()).requests == 1


@pytest.mark.parametrize("action", [script.Reset("before"), script.Close("before")])
async def test_connection_ended_before_an_answer_is_tried_once_more_if_it_was_reused(
    engine: FakeEngine, action: script.Action
) -> None:
    """On a new connection the prompt may be what ended it: the batch decides, not the client."""
    async with client_of(engine.url) as client:
        await engine.set_script([Rule(action)])
        with pytest.raises(EngineLost):
            await ask(client)
        assert (await engine.stats()).requests == 1
        await engine.set_script(Script())
        await ask(client)
        await engine.reset_stats()
        await engine.set_script([Rule(action, times=1)])
        assert (await ask(client)).text == "answer to: hello"
        assert (await engine.stats()).requests == 2


async def test_engine_that_dies_under_a_reused_connection_is_lost(own_engine: OwnEngine) -> None:
    """The second try found nobody: that looked as if the engine had never taken the prompt."""
    engine = own_engine(Script())
    async with client_of(engine.url) as client:
        await ask(client)
        await engine.set_script([Rule(script.Exit())])
        with pytest.raises(EngineLost):
            await ask(client)


@pytest.mark.parametrize("then", ["reset", "close", "error"])
async def test_draft_holds_what_came_before_the_engine_broke_off(
    engine: FakeEngine, then: Any
) -> None:
    draft = Draft()
    async with client_of(engine.url) as client:
        await engine.set_script([Rule(script.HalfStream(2, then))])
        with pytest.raises((EngineLost, EngineFailure)):
            await client.complete("hello", SAMPLING, "test-0", draft)
        assert draft.text == "answer "
        await engine.set_script([Rule(script.HalfStream(1, then))])
        with pytest.raises((EngineLost, EngineFailure)):
            await client.complete("hello", SAMPLING, "test-0", draft)
        assert draft.text == "answer ", "the attempt that came furthest counts"


@pytest.mark.parametrize("is_stream", [True, False])
async def test_answer_that_a_stopping_engine_ended_early_is_not_whole(
    engine: FakeEngine, is_stream: bool
) -> None:
    """vLLM on SIGTERM ends its streams in good order: 128 of 358 answers were cut short."""
    await engine.set_script([Rule(script.HalfStream(2, "abort"))])
    draft = Draft()
    async with client_of(engine.url, is_stream=is_stream) as client:
        with pytest.raises(EngineLost, match="abort"):
            await client.complete("hello", SAMPLING, "test-0", draft)
    assert draft.text == ("answer " if is_stream else "")


async def test_draft_follows_a_stream_that_stalls(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.HalfStream(3, "stall"))])
    draft = Draft()
    async with client_of(engine.url) as client, anyio.create_task_group() as group:
        group.start_soon(client.complete, "hello", SAMPLING, "test-0", draft)
        with anyio.fail_after(10):
            while draft.text != "answer to: ":  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert (await engine.wait_until(lambda stats: stats.running == 0)).cancelled == 1


async def test_trickled_stream_is_read_whole(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Trickle(0.0))])
    async with client_of(engine.url) as client:
        assert await ask(client) == Completion("answer to: hello", "stop", 2, 3)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (script.Garbage(), "not a chat completion"),
        (script.Garbage("[" * 100_000), "not a chat completion"),
        (script.EmptyChoices(), "no choices"),
        (script.Status(500, "out of paper"), "the engine answered 500: out of paper"),
        (script.Status(404, "The model `x` does not exist."), "404: The model"),
        (script.Status(401, "Unauthorized", style="flat"), "401: Unauthorized"),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_answer_that_is_no_completion_is_a_failure(
    engine: FakeEngine, action: script.Action, message: str, is_stream: bool
) -> None:
    await engine.set_script([Rule(action)])
    async with client_of(engine.url, is_stream=is_stream) as client:
        with pytest.raises(EngineFailure, match=message):
            await ask(client)


@pytest.mark.parametrize(("code", "can_pass"), [(500, True), (404, False), (401, False)])
async def test_failure_tells_whether_it_can_pass(
    engine: FakeEngine, code: int, can_pass: bool
) -> None:
    await engine.set_script([Rule(script.Status(code, "no"))])
    async with client_of(engine.url) as client:
        with pytest.raises(EngineFailure) as raised:
            await ask(client)
    assert raised.value.can_pass is can_pass


async def test_null_content_of_a_plain_answer_is_a_failure(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.NullContent())])
    async with client_of(engine.url, is_stream=False) as client:
        with pytest.raises(EngineFailure, match="null content"):
            await ask(client)


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\0\1\2\3\r\n\r\n"])
async def test_what_does_not_speak_http_is_a_failure(reply: bytes) -> None:
    async with saying({COMPLETIONS: reply}) as url, client_of(url) as client:
        with pytest.raises(EngineFailure, match="does not speak HTTP"):
            await ask(client)


async def test_endless_answer_is_refused_by_its_length() -> None:
    size = MAX_COMPLETION_BYTES + 1
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    async with saying({COMPLETIONS: head}) as url, client_of(url) as client:
        with pytest.raises(EngineFailure, match=f"{size} bytes"):
            await ask(client)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (503, "starting"),
        (429, "later"),
        (502, "Bad Gateway"),
        (504, "upstream"),
        (500, "EngineCore encountered an issue. See stack trace (above) for the root cause."),
        (500, "EngineDeadError: EngineCore died"),
        (500, "cannot schedule new futures after shutdown"),
    ],
)
async def test_dead_engine_behind_a_live_server_means_not_ready(
    engine: FakeEngine, code: int, message: str
) -> None:
    await engine.set_script([Rule(script.Status(code, message))])
    async with client_of(engine.url) as client:
        with pytest.raises(EngineNotReady, match=f"answered {code}"):
            await ask(client)


async def test_connections_to_the_engine_are_probed(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that loses its power resets no connection."""
    made: list[dict[str, int]] = []
    connect = asyncio.BaseEventLoop.create_connection

    async def note(loop: Any, *args: Any, sock: socket.socket, **kwargs: Any) -> Any:
        made.append({name: sock.getsockopt(*where) for name, where in PROBES.items()})
        return await connect(loop, *args, sock=sock, **kwargs)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", note)
    async with client_of(engine.url) as client:
        await ask(client)
    assert made == [{"on": 1, "after_s": 10, "every_s": 5, "times": 3}]


async def test_an_accident_told_as_a_refusal_can_pass(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Status(400, "RuntimeError: Already borrowed"))])
    async with client_of(engine.url) as client:
        with pytest.raises(EngineFailure) as raised:
            await ask(client)
    assert raised.value.can_pass


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_refused_request_is_invalid(engine: FakeEngine, code: int) -> None:
    await engine.set_script([Rule(script.Status(code, "bad stop", style="flat"))])
    async with client_of(engine.url) as client:
        with pytest.raises(InvalidRequest, match="refused the prompt: bad stop") as raised:
            await ask(client)
    assert not isinstance(raised.value, PromptTooLong)


@pytest.mark.parametrize(
    ("style", "prompt_tokens"), [("vllm-0.10", 309), ("vllm-0.10.2", 309), ("vllm-new", 0)]
)
async def test_prompt_over_the_context_is_told_with_counts(
    engine: FakeEngine, style: Any, prompt_tokens: int
) -> None:
    await engine.set_script([Rule(script.ContextLength(style, max_model_len=200))])
    async with client_of(engine.url) as client:
        with pytest.raises(PromptTooLong) as raised:
            await ask(client, "x" * 300)
    assert raised.value.context_tokens == 200
    assert raised.value.prompt_tokens == prompt_tokens, "0: only told as 'at least'"


def test_context_words_count_only_in_a_refusal() -> None:
    assert isinstance(translate(500, "maximum context length is 5 tokens"), EngineFailure)


async def test_health_follows_the_route(engine: FakeEngine) -> None:
    async with client_of(engine.url) as client:
        assert await client.health() is Health.UP
        await engine.set_script(Script(health="503"))
        assert await client.health() is Health.DOWN


async def test_stalled_health_is_unsure_after_its_timeout(engine: FakeEngine) -> None:
    await engine.set_script(Script(health="stall"))
    async with client_of(engine.url, health_timeout_s=0.1) as client:
        started = anyio.current_time()
        assert await client.health() is Health.UNSURE
        assert 0.1 <= anyio.current_time() - started < 10


async def test_health_of_nothing_is_down() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}") as client:
        assert await client.health() is Health.DOWN


async def test_health_of_what_speaks_no_http_is_down() -> None:
    async with saying({"/health": b"nonsense\r\n\r\n"}) as url, client_of(url) as client:
        assert await client.health() is Health.DOWN


async def test_health_needs_no_connection_of_the_batch(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Hold())])
    prompts = [f"question {index}" for index in range(4)]
    async with (
        client_of(engine.url, max_connections=4) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(ask_at_once, client, prompts)
        await engine.wait_until(lambda stats: stats.running == 4)
        assert await client.health() is Health.UP
        await engine.release()


async def test_cancelled_call_is_cancelled_at_the_engine(engine: FakeEngine) -> None:
    await engine.set_script([Rule(script.Stall())])
    async with client_of(engine.url) as client, anyio.create_task_group() as group:
        group.start_soon(ask, client)
        await engine.wait_until(lambda stats: stats.running == 1)
        group.cancel_scope.cancel()
    stats = await engine.wait_until(lambda stats: stats.running == 0)
    assert stats.cancelled == 1


async def test_tells_context_and_token_counts(engine: FakeEngine) -> None:
    await engine.set_script(Script(max_model_len=777))
    async with client_of(engine.url) as client:
        assert await client.context_tokens() == 777
        assert await client.count_tokens("12345", SAMPLING) == len("Be brief.12345")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"<html>", b'{"data": []}', b'{"data": [5]}', b"\xff",
     b'{"data": [{"max_model_len": "many"}], "count": "many"}', b"[" * 100_000],
    ids=lambda body: body[:20].decode("latin-1"),
)  # fmt: skip
async def test_tolerates_odd_answers_of_optional_routes(body: bytes) -> None:
    paths = ("/v1/models", "/tokenize")
    async with saying({path: reply_of(body) for path in paths}) as url, client_of(url) as client:
        assert await client.context_tokens() == 0
        assert await client.count_tokens("x", SAMPLING) == 0


async def test_tolerates_an_engine_without_optional_routes() -> None:
    async with saying({}) as url, client_of(url) as client:
        assert await client.context_tokens() == 0
    async with client_of(f"http://127.0.0.1:{free_port()}") as client:
        assert await client.count_tokens("x", SAMPLING) == 0


async def test_needs_to_be_entered() -> None:
    client = Engine(
        "http://127.0.0.1:1",
        RequestEncoder("evalgate", "", enable_thinking=False),
        max_connections=1,
        keepalive_s=1,
        health_timeout_s=1,
    )
    with pytest.raises(AssertionError, match="context manager"):
        await client.complete("x", SAMPLING, "id")
    await client.__aexit__(None, None, None)


async def test_no_connection_in_time_means_not_ready() -> None:
    """A listener whose backlog is full drops connection attempts, as a hung machine does."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with client_of(f"http://127.0.0.1:{port}", connect_timeout_s=0.1) as client:
            with pytest.raises(EngineNotReady, match="timeout"):
                await ask(client)


async def test_request_is_one_json_document(engine: FakeEngine) -> None:
    async with client_of(engine.url) as client:
        await ask(client, json.dumps({"prompt": "nested"}))
    body = (await engine.stats()).last_body
    assert body["messages"][-1]["content"] == '{"prompt": "nested"}'
