"""The fake engine as its clients see it, one behaviour at a time."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from tests.fakes.running import FakeEngine
from tests.fakes.script import (
    Answer,
    Close,
    ContextLength,
    Delay,
    EmptyChoices,
    Exit,
    Garbage,
    HalfStream,
    Hold,
    NullContent,
    Reasoning,
    Reset,
    Rule,
    Script,
    Stall,
    Status,
    Text,
    Trickle,
)

pytestmark = pytest.mark.anyio
SOON_S = 20.0
MAX_WORK_S = 5.0
SEED = 42  # the first three draws from it are far apart: see the test that uses it


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


@pytest.fixture
async def engine(shared: FakeEngine) -> FakeEngine:
    await shared.set_script(Script())
    await shared.wait_until(lambda stats: stats.running == 0 and stats.connections == 0)
    await shared.reset_stats()
    return shared


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(engine.url, timeout=timeout, connector=connector) as session:
        yield session


def request_body(content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": content}], **fields}


async def ask(
    client: aiohttp.ClientSession, content: Any = "hello", **fields: Any
) -> tuple[int, dict[str, Any]]:
    body = request_body(content, **fields)
    async with client.post("/v1/chat/completions", json=body) as reply:
        return reply.status, json.loads(await reply.read())


async def answer(client: aiohttp.ClientSession, content: Any = "hello", **fields: Any) -> Any:
    status, body = await ask(client, content, **fields)
    assert status == 200
    return body["choices"][0]["message"]["content"]


async def stream(client: aiohttp.ClientSession, content: str, **fields: Any) -> list[str]:
    """Return the data of the events that arrived, up to the end or the break of the stream."""
    events: list[str] = []
    body = request_body(content, stream=True, **fields)
    async with client.post("/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        try:
            async for line in reply.content:
                if line.strip():
                    events.append(line.decode().removeprefix("data: ").strip())
        except aiohttp.ClientError as exc:
            events.append(type(exc).__name__)
    return events


def text_in(events: list[str]) -> str:
    chunks = [json.loads(event) for event in events if event.startswith("{")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


async def raw_exchange(engine: FakeEngine, body: dict[str, Any]) -> tuple[bytes, str]:
    """Send one request on a bare socket; return the bytes until the end, and what ended it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    writer.write(http_request(body))
    data = b""
    try:
        while piece := await reader.read(65536):
            data += piece
        return data, "closed"
    except ConnectionResetError:
        return data, "reset"
    finally:
        writer.close()


def http_request(body: dict[str, Any], headers: str = "") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{headers}"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


async def metric(client: aiohttp.ClientSession, name: str) -> float:
    async with client.get("/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:{name}{{"))


# The routes of a healthy engine


async def test_default_answer_repeats_the_last_user_message(client: aiohttp.ClientSession) -> None:
    status, body = await ask(client, "what is a warp")
    assert status == 200
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "answer to: what is a warp"}
    assert choice["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}


async def test_content_given_in_parts_is_joined(client: aiohttp.ClientSession) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert await answer(client, parts) == "answer to: one two"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_limit_cuts_the_answer(client: aiohttp.ClientSession, name: str) -> None:
    status, body = await ask(client, "a b c d", **{name: 3})
    assert status == 200
    assert body["choices"][0]["message"]["content"] == "answer to: a"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3


async def test_stream_carries_the_answer_then_usage_then_done(
    client: aiohttp.ClientSession,
) -> None:
    events = await stream(client, "线程束 是什么", stream_options={"include_usage": True})
    assert text_in(events) == "answer to: 线程束 是什么"
    assert json.loads(events[-3])["choices"][0]["finish_reason"] == "stop"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 4
    assert events[-1] == "[DONE]"


async def test_models_tells_name_and_context(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script(Script(model="pocket", max_model_len=123))
    async with client.get("/v1/models") as reply:
        card = (await reply.json())["data"][0]
    assert (card["id"], card["max_model_len"]) == ("pocket", 123)


async def test_unknown_model_is_not_found(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script(Script(model="pocket"))
    status, body = await ask(client)
    assert status == 404
    assert body["error"]["message"] == "The model `any` does not exist."


async def test_tokenize_counts_characters_and_detokenize_inverts_it(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("/tokenize", json=request_body("显卡 gpu")) as reply:
        answered = await reply.json()
    assert (answered["count"], answered["max_model_len"]) == (6, 4096)
    async with client.post("/detokenize", json={"tokens": answered["tokens"][:2]}) as reply:
        assert await reply.json() == {"prompt": "显卡"}


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"messages": "hello"}'])
async def test_bad_body_is_refused(client: aiohttp.ClientSession, data: bytes) -> None:
    async with client.post("/v1/chat/completions", data=data) as reply:
        assert reply.status == 400


async def test_unknown_route_is_not_found(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/nothing") as reply:
        assert reply.status == 404


async def test_bad_script_is_refused_and_the_old_one_stays(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Text("still here"))])
    with pytest.raises(ValueError, match="rule action 'explode'"):
        engine.ask("POST", "script", '{"rules": [{"action": "explode"}]}')
    assert await answer(client) == "still here"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"x" * 70_000,
    ],
)
async def test_bytes_that_are_no_request_are_refused(engine: FakeEngine, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    writer.write(data)
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


# Many at once


async def test_500_concurrent_requests_are_answered_each_its_own(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Hold())])
    asked = [asyncio.create_task(answer(client, f"question {i}")) for i in range(500)]
    stats = await engine.wait_until(lambda stats: stats.running == 500)
    assert stats.connections == 500
    await engine.release()
    assert await asyncio.gather(*asked) == [f"answer to: question {i}" for i in range(500)]
    stats = await engine.stats()
    assert (stats.requests, stats.running, stats.peak_running) == (500, 0, 500)
    assert stats.by_prompt == {f"question {i}": 1 for i in range(500)}


async def test_1000_connections_are_open_at_once(engine: FakeEngine) -> None:
    await engine.set_script([Rule(Stall())])
    pairs = [await asyncio.open_connection("127.0.0.1", engine.port) for _ in range(1000)]
    for _, writer in pairs:
        writer.write(http_request(request_body("x")))
    stats = await engine.wait_until(lambda stats: stats.running == 1000)
    assert (stats.connections, stats.peak_connections, stats.accepted) == (1000, 1000, 1000)
    for _, writer in pairs:
        writer.close()
    stats = await engine.wait_until(lambda stats: stats.connections == 0)
    assert stats.cancelled == 1000


async def test_pipelined_requests_are_answered_in_order(engine: FakeEngine) -> None:
    await engine.set_script([Rule(Delay(0.01), match="first")])
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    last = http_request(request_body("second"), "connection: close\r\n")
    writer.write(http_request(request_body("first")) + last)
    data = await reader.read()
    assert data.index(b"answer to: first") < data.index(b"answer to: second")
    writer.close()


async def test_request_in_small_pieces_is_read_whole(engine: FakeEngine) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    for byte in http_request(request_body("in pieces"), "connection: close\r\n"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert b"answer to: in pieces" in await reader.read()
    writer.close()


# Rules


async def test_first_matching_rule_applies_until_it_is_used_up(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    rules = [
        Rule(Text("once"), match="gpu", times=1),
        Rule(Answer(), match="plain gpu"),
        Rule(Text("then"), match="gpu"),
    ]
    await engine.set_script(rules)
    prompts = ["cpu", "gpu", "gpu", "plain gpu"]
    assert [await answer(client, prompt) for prompt in prompts] == [
        "answer to: cpu",
        "once",
        "then",
        "answer to: plain gpu",
    ]


async def test_after_s_delays_any_action(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    await engine.set_script([Rule(Status(503), "bad", after_s=0.1), Rule(Answer(), after_s=0.1)])
    start = time.monotonic()
    assert (await ask(client, "bad"))[0] == 503
    assert await answer(client, "good") == "answer to: good"
    assert time.monotonic() - start >= 0.2


async def test_delay_range_is_drawn_from_the_seed(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script(Script(rules=[Rule(Delay(0.0, 8.0))], seed=SEED))
    done: list[str] = []

    async def one(prompt: str) -> None:
        done.append(await answer(client, prompt))

    tasks = []
    for count, prompt in enumerate("abc", start=1):
        tasks.append(asyncio.create_task(one(prompt)))
        await engine.wait_until(lambda stats, count=count: stats.requests == count)  # type: ignore[misc]
    await asyncio.gather(*tasks)
    assert done == ["answer to: b", "answer to: c", "answer to: a"]


# Faults with an answer


async def test_nested_error_as_openai_has_it(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Status(500, "boom"))])
    error = {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}
    assert await ask(client) == (500, {"error": error})


async def test_flat_error_as_sglang_has_it(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Status(400, "boom", "flat"))])
    status, body = await ask(client)
    assert status == 400
    assert (body["object"], body["message"]) == ("error", "boom")


async def test_raw_error_with_retry_after(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Status(429, "slow down", "raw", retry_after="2"))])
    async with client.post("/v1/chat/completions", json=request_body("x")) as reply:
        assert (reply.status, await reply.text()) == (429, "slow down")
        assert reply.headers["retry-after"] == "2"


async def test_too_long_prompt_is_refused_until_it_is_shortened(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script(Script(rules=[Rule(ContextLength())], max_model_len=100))
    status, body = await ask(client, "x" * 81, max_tokens=20)
    assert status == 400
    assert "101 tokens (81 in the messages, 20 in the completion)" in body["message"]
    assert (await ask(client, "x" * 80, max_tokens=20))[0] == 200


async def test_garbage_is_a_success_that_is_not_json(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Garbage("<html>"))])
    async with client.post("/v1/chat/completions", json=request_body("x")) as reply:
        assert (reply.status, await reply.text()) == (200, "<html>")
    assert await stream(client, "x") == ["<html>"]


async def test_empty_choices(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    await engine.set_script([Rule(EmptyChoices())])
    status, body = await ask(client)
    assert (status, body["choices"]) == (200, [])


async def test_null_content(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    await engine.set_script([Rule(NullContent())])
    assert await answer(client) is None
    assert text_in(await stream(client, "x")) == ""


@pytest.mark.parametrize("content", [None, "so it is"])
async def test_reasoning_stands_beside_the_content(
    engine: FakeEngine, client: aiohttp.ClientSession, content: str | None
) -> None:
    await engine.set_script([Rule(Reasoning("hmm", "reasoning", content))])
    _, body = await ask(client, "x")
    expected = "answer to: x" if content is None else content
    message = {"role": "assistant", "content": expected, "reasoning": "hmm"}
    assert body["choices"][0]["message"] == message
    events = await stream(client, "x")
    assert json.loads(events[1])["choices"][0]["delta"] == {"reasoning": "hmm"}


async def test_fixed_text(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    await engine.set_script([Rule(Text("<think>\nhm\n</think>\n\nyes"))])
    assert await answer(client) == "<think>\nhm\n</think>\n\nyes"


# Faults of time


async def test_trickled_bytes_arrive_one_by_one(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Trickle(0.001), times=1), Rule(Trickle(0.0))])
    start = time.monotonic()
    assert await answer(client, "slow") == "answer to: slow"
    assert time.monotonic() - start > 0.2  # more than 200 bytes
    assert text_in(await stream(client, "x")) == "answer to: x"


async def test_trickled_chunks_arrive_event_by_event(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Trickle(0.02, "chunk"))])
    start = time.monotonic()
    events = await stream(client, "x")
    assert text_in(events) == "answer to: x"
    assert time.monotonic() - start > 0.02 * len(events)
    assert await answer(client, "x") == "answer to: x"


@pytest.mark.parametrize("action", [Stall(), Delay(60), Hold(), Trickle(60)])
async def test_client_that_goes_away_is_noticed_at_once(
    engine: FakeEngine, client: aiohttp.ClientSession, action: Stall | Delay | Hold | Trickle
) -> None:
    await engine.set_script([Rule(action)])
    asked = asyncio.create_task(answer(client, "x"))
    await engine.wait_until(lambda stats: stats.running == 1)
    asked.cancel()
    start = time.monotonic()
    stats = await engine.wait_until(lambda stats: stats.running == 0)
    assert time.monotonic() - start < SOON_S
    assert (stats.cancelled, stats.working) == (1, 0)


async def test_answered_requests_do_not_count_as_cancelled(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Delay(0.001), match="slow"), Rule(Reset(), match="reset")])
    await answer(client, "slow")
    await answer(client, "fast")
    with pytest.raises(aiohttp.ClientError):
        await answer(client, "reset")
    await client.close()
    stats = await engine.wait_until(lambda stats: stats.connections == 0)
    assert (stats.requests, stats.cancelled, stats.running) == (3, 0, 0)


async def test_progress_shows_while_delayed_and_not_while_stalled(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script([Rule(Stall(), match="stall"), Rule(Delay(60), match="delay")])
    stalled = asyncio.create_task(answer(client, "stall"))
    await engine.wait_until(lambda stats: stats.running == 1)
    name = "iteration_tokens_total_count"
    assert await metric(client, name) == await metric(client, name)
    delayed = asyncio.create_task(answer(client, "delay"))
    await engine.wait_until(lambda stats: stats.running == 2)
    assert await metric(client, name) < await metric(client, name)
    assert await metric(client, "num_requests_running") == 2
    assert await metric(client, "generation_tokens_total") > 0
    stalled.cancel()
    delayed.cancel()


# Broken connections


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("action", "ending"), [(Reset, "reset"), (Close, "closed")])
async def test_connection_breaks_where_the_script_says(
    engine: FakeEngine, action: type[Reset | Close], ending: str, is_stream: bool
) -> None:
    async def broken(when: Any) -> bytes:
        await engine.set_script([Rule(action(when))])
        data, seen = await raw_exchange(engine, request_body("x", stream=is_stream))
        assert seen == ending
        return data

    assert await broken("before") == b""
    headers = await broken("after_headers")
    assert headers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert headers.endswith(b"\r\n\r\n")
    half = await broken("mid_body")
    assert half.startswith(headers)
    assert len(half) > len(headers)


@pytest.mark.parametrize(
    ("then", "last"),
    [("reset", "ClientOSError"), ("close", "ClientPayloadError"), ("error", "[DONE]")],
)
async def test_half_stream_gives_some_text_then_breaks(
    engine: FakeEngine, client: aiohttp.ClientSession, then: Any, last: str
) -> None:
    await engine.set_script([Rule(HalfStream(2, then))])
    events = await stream(client, "abcdefgh")
    assert text_in(events) == "answer "
    assert events[-1] in (last, "ClientPayloadError")
    assert any('"error"' in event for event in events) == (then == "error")


async def test_half_stream_can_stall(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    await engine.set_script([Rule(HalfStream(1, "stall"))])
    body = request_body("x", stream=True)
    async with client.post("/v1/chat/completions", json=body) as reply:
        await reply.content.readline()
        await reply.content.readline()
        assert b'"answ"' in await reply.content.readline()
        assert (await engine.stats()).running == 1
    stats = await engine.wait_until(lambda stats: stats.running == 0)
    assert stats.cancelled == 1


@pytest.mark.parametrize("is_stream", [True, False])
async def test_half_stream_can_end_as_aborted(
    engine: FakeEngine, client: aiohttp.ClientSession, is_stream: bool
) -> None:
    """A vLLM that is told to end finishes its streams in good order, with that reason."""
    await engine.set_script([Rule(HalfStream(3, "abort"))])
    body = request_body("abcdefgh", stream=is_stream)
    async with client.post("/v1/chat/completions", json=body) as reply:
        text = await reply.text()
    assert '"finish_reason": "abort"' in text
    assert "to" in text
    assert "abcd" not in text


@pytest.mark.parametrize(("then", "ending"), [("reset", "reset"), ("error", "closed")])
async def test_half_stream_without_a_stream_is_half_a_body(
    engine: FakeEngine, then: Any, ending: str
) -> None:
    await engine.set_script([Rule(HalfStream(2, then))])
    data, seen = await raw_exchange(engine, request_body("x"))
    assert seen == ending
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("how", "ending"), [("close", "closed"), ("reset", "reset")])
async def test_idle_connection_is_ended_after_its_time(
    engine: FakeEngine, how: Any, ending: str
) -> None:
    await engine.set_script(Script(idle_close_s=0.2, idle_close=how))
    start = time.monotonic()
    data, seen = await raw_exchange(engine, request_body("x"))
    assert b"answer to: x" in data
    assert seen == ending
    assert 0.2 <= time.monotonic() - start < SOON_S


async def test_idle_time_starts_anew_with_each_request(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    await engine.set_script(Script(rules=[Rule(Delay(2.5))], idle_close_s=2.3))
    assert await answer(client, "longer than the idle time") is not None
    assert await answer(client, "again") is not None
    assert (await engine.stats()).accepted == 1


@pytest.mark.parametrize("option", ["reset_on_reuse", "close_on_reuse"])
async def test_reused_connection_breaks_so_many_times(
    engine: FakeEngine, client: aiohttp.ClientSession, option: str
) -> None:
    await engine.set_script(Script(**{option: 1}))  # type: ignore[arg-type]
    assert await answer(client, "fresh") == "answer to: fresh"
    body = json.dumps(request_body("reused"))
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        async with client.post("/v1/chat/completions", data=body):
            pass
    assert await answer(client, "fresh again") == "answer to: fresh again"
    assert await answer(client, "reused again") == "answer to: reused again"
    assert "reused" not in (await engine.stats()).by_prompt


async def test_exit_ends_the_engine_with_its_code() -> None:
    with FakeEngine.start([Rule(Exit(7))]) as engine:
        assert await raw_exchange(engine, request_body("x")) == (b"", "closed")
        assert engine.wait() == 7


# Health and start


async def test_health_follows_the_script(engine: FakeEngine, client: aiohttp.ClientSession) -> None:
    async def health() -> int:
        async with client.get("/health") as reply:
            return reply.status

    assert await health() == 200
    await engine.set_script(Script(health="503"))
    assert await health() == 503
    await engine.set_script(Script(health="stall"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(health(), 0.2)
    assert (await engine.stats()).requests == 0


async def test_stats_hold_the_last_request(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    body = request_body("x", temperature=0.5)
    headers = {"X-Request-Id": "abc"}
    async with client.post("/v1/chat/completions", json=body, headers=headers):
        pass
    stats = await engine.stats()
    assert stats.last_body == body
    assert stats.last_headers["x-request-id"] == "abc"
    assert (stats.pid, stats.connections) == (engine.pid, 1)
    await engine.reset_stats()
    stats = await engine.stats()
    assert (stats.requests, stats.by_prompt, stats.last_body) == (0, {}, {})
    assert (stats.connections, stats.peak_connections, stats.accepted) == (1, 1, 0)


async def test_everything_is_503_until_started() -> None:
    with FakeEngine.start(Script(startup_s=3)) as engine:
        async with aiohttp.ClientSession(engine.url) as client:
            assert (await ask(client))[0] == 503
            deadline = time.monotonic() + SOON_S
            while (await ask(client))[0] == 503:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            assert await answer(client) == "answer to: hello"


async def test_port_refuses_until_started() -> None:
    with FakeEngine.start(Script(startup_s=3, startup="refused")) as engine:
        async with aiohttp.ClientSession(engine.url) as client:
            with pytest.raises(aiohttp.ClientConnectorError):
                await ask(client)
            deadline = time.monotonic() + SOON_S
            while True:
                try:
                    assert await answer(client) == "answer to: hello"
                    break
                except aiohttp.ClientConnectorError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)


async def test_answers_thousands_of_requests_each_second(
    engine: FakeEngine, client: aiohttp.ClientSession
) -> None:
    """A floor far below what it does, so that a busy machine does not fail it."""
    del client
    readers = [await asyncio.open_connection("127.0.0.1", engine.port) for _ in range(8)]
    request = http_request(request_body("x"))

    async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(250):
            writer.write(request)
            await reader.readuntil(b"}}")
        writer.close()

    process = psutil.Process(engine.pid)
    start, worked = time.monotonic(), sum(process.cpu_times()[:2])
    await asyncio.gather(*(many(*pair) for pair in readers))
    assert time.monotonic() - start < SOON_S
    assert sum(process.cpu_times()[:2]) - worked < MAX_WORK_S
    assert (await engine.stats()).requests == 2000


def test_fake_runs_in_a_group_of_its_own() -> None:
    with FakeEngine.start() as engine:
        assert os.getpgid(engine.pid) == engine.pid
