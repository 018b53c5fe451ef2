from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import httpx
import pytest

from gateway.predict import ANSWERS_HEADER
from gateway.settings import Settings
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule, Script
from tests.gateway.serving import Gateway, serving, settings_for, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.anyio
ODD = '什么是warp？🚀 "quoted" \\ \u2028 \0'
OwnEngine = Callable[[Script], FakeEngine]


async def post(gateway: Gateway, content: bytes, **headers: str) -> httpx.Response:
    return await gateway.client.post("/predict", content=content, headers=headers)


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    assert "response" not in response.json()
    return response.status_code, error["type"], error["message"]


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("what is a warp", "answer to: what is a warp"),
        (["what is a warp"], ["answer to: what is a warp"]),
        (["b", "a", "b"], ["answer to: b", "answer to: a", "answer to: b"]),
        ([], []),
        ("", ""),
        ("  \n", ""),
        (["", "a", "　"], ["", "answer to: a", ""]),
        (ODD, f"answer to: {ODD}"),
    ],
)
async def test_answers_in_the_shape_of_the_question(
    calm_gateway: Gateway, prompt: Any, response: Any
) -> None:
    got = await calm_gateway.predict(prompt)
    assert (got.status_code, got.json()) == (200, {"response": response})
    assert got.headers["content-type"] == "application/json"
    assert int(got.headers["content-length"]) == len(got.content)


async def test_batch_of_the_evaluators_size_comes_back_whole_and_in_order(
    engine: FakeEngine,
) -> None:
    await engine.set_script([Rule(script.Delay(0, 0.02))])
    prompts = [f"question {index}" for index in range(358)]
    async with serving(settings_for(engine.url, batch_concurrency=128)) as gateway:
        got = (await gateway.predict(prompts)).json()
    assert got == {"response": [f"answer to: {prompt}" for prompt in prompts]}


async def test_requests_own_sampling_is_sent_and_unknown_fields_are_ignored(
    engine: FakeEngine,
) -> None:
    own = {
        "max_new_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
        "frequency_penalty": -0.5,
        "stop": "。",
    }
    async with serving(settings_for(engine.url, system_prompt="Be brief.")) as gateway:
        got = await gateway.predict("one two three four five", **own, seed=1, stream=True, model=3)
    assert got.json() == {"response": "answer to: one two three"}
    body = (await engine.stats()).last_body
    assert {name: body[name] for name in own if name in body} == {
        **{name: value for name, value in own.items() if name != "max_new_tokens"},
        "stop": ["。"],
    }
    assert body["max_tokens"] == 5
    assert body["model"] == "evalgate"
    assert "seed" not in body


async def test_settings_decide_what_a_request_leaves_open(engine: FakeEngine) -> None:
    settings = settings_for(
        engine.url, max_new_tokens=99, temperature=0.3, stop_strings=("<end>",), top_k=7
    )
    async with serving(settings) as gateway:
        await gateway.predict("hello", temperature=None, stop=None)
    body = (await engine.stats()).last_body
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (99, 0.3, 7)
    assert body["stop"] == ["<end>"]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"prompt=hello", "not JSON"),
        (b"null", "must be a JSON object"),
        (b'["hello"]', "must be a JSON object"),
        (b"{}", 'no "prompt"'),
        (b'{"prompts": ["hello"]}', 'no "prompt"'),
        (b'{"prompt": null}', "prompt must be a string or a list of strings, got null"),
        (b'{"prompt": 5}', "prompt must be a string or a list of strings, got a number"),
        (b'{"prompt": {"a": 1}}', "got an object"),
        (b'{"prompt": ["a", "b", 3]}', r"prompt\[2\] must be a string, got a number"),
        (b'{"prompt": [["a"]]}', r"prompt\[0\] must be a string, got a list"),
        (b'{"prompt": "a", "temperature": 3}', "temperature must be"),
        (b'{"prompt": "a", "temperature": "hot"}', "temperature must be"),
        (b'{"prompt": "a", "top_p": 0}', "top_p must be"),
        (b'{"prompt": "a", "top_k": 1.5}', "top_k must be an integer"),
        (b'{"prompt": "a", "max_new_tokens": 0}', "max_new_tokens must be"),
        (b'{"prompt": "a", "max_new_tokens": true}', "max_new_tokens must be"),
        (b'{"prompt": "a", "repetition_penalty": -1}', "repetition_penalty must be"),
        (b'{"prompt": "a", "frequency_penalty": 1e999}', "frequency_penalty must be"),
        (b'{"prompt": "a", "stop": [""]}', "stop must be"),
        (b"[" * 100_000, "not usable JSON"),
    ],
)
async def test_broken_contract_is_400_and_names_the_fault(
    calm_gateway: Gateway, content: bytes, message: str
) -> None:
    status, kind, told = error_of(await post(calm_gateway, content))
    assert (status, kind) == (400, "InvalidRequest")
    assert re.search(message, told), told


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
async def test_json_of_any_content_type_is_read(calm_gateway: Gateway, content_type: str) -> None:
    got = await post(calm_gateway, b'{"prompt": "a"}', **{"Content-Type": content_type})
    assert got.json() == {"response": "answer to: a"}


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ('{"prompt": "中文"}'.encode("utf-8-sig"), "answer to: 中文"),
        ('{"prompt": "中文"}'.encode("utf-16"), "answer to: 中文"),
        (b'{"prompt": "broken \xff byte"}', "answer to: broken \ufffd byte"),
        (b'{"prompt": "lone \\ud800 surrogate"}', "answer to: lone \ufffd surrogate"),
        (b'{"prompt": "pair \\ud83d\\ude80"}', "answer to: pair 🚀"),
    ],
)
async def test_broken_or_unusual_text_never_crashes_it(
    calm_gateway: Gateway, content: bytes, answer: str
) -> None:
    got = await post(calm_gateway, content)
    assert (got.status_code, got.json()) == (200, {"response": answer})


async def test_batch_over_its_limit_is_413(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, max_batch_prompts=3)) as gateway:
        assert (await gateway.predict(["a"] * 3)).status_code == 200
        status, kind, message = error_of(await gateway.predict(["a"] * 4))
    assert (status, kind) == (413, "RequestTooLarge")
    assert "4 prompts" in message and "MAX_BATCH_PROMPTS is 3" in message


async def test_body_over_its_limit_is_413_by_its_declared_length(engine: FakeEngine) -> None:
    """The answer comes before the body was sent."""
    async with serving(settings_for(engine.url, max_body_bytes=2048), is_warm=False) as gateway:
        stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
        async with stream:
            await stream.send(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{"
            )
            with anyio.fail_after(5):
                reply = await stream.receive()
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"MAX_BODY_BYTES of 2048 bytes" in reply


async def test_body_over_its_limit_is_413_also_in_chunks(engine: FakeEngine) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(10):
            yield b"x" * 1000
        yield b'"}'

    async with serving(settings_for(engine.url, max_body_bytes=2048), is_warm=False) as gateway:
        response = await gateway.client.post("/predict", content=chunks())
        assert error_of(response)[:2] == (413, "RequestTooLarge")
        assert (await gateway.get("/livez")).status_code == 200


async def test_bodies_that_hold_too_much_together_are_429_and_cost_nobody_else(
    engine: FakeEngine,
) -> None:
    """Many large bodies at once, each inside its limit, used up the memory."""
    limits = {"max_body_bytes": 4096, "max_open_body_bytes": 6000}
    large = b'{"prompt": "%b"}' % (b"x" * 3000)

    async def until_answered_by(status: int) -> httpx.Response:
        with anyio.fail_after(5):
            while (response := await post(gateway, large)).status_code != status:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return response

    async with serving(settings_for(engine.url, **limits)) as gateway:
        async with await anyio.connect_tcp("127.0.0.1", gateway.port) as slow:
            await slow.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")
            await slow.send(b" " * 3900)
            refused = await until_answered_by(429)
            assert error_of(refused)[1] == "Overloaded"
            assert "MAX_OPEN_BODY_BYTES is 6000" in error_of(refused)[2]
            assert int(refused.headers["retry-after"]) > 0
            assert (await gateway.predict(["one"])).status_code == 200
        await until_answered_by(200)


async def test_body_that_does_not_come_is_408(engine: FakeEngine) -> None:
    """A client that stopped in mid-body held its connection for good."""
    async with serving(settings_for(engine.url, body_timeout_s=0.2), is_warm=False) as gateway:
        stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
        async with stream:
            await stream.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
            with anyio.fail_after(5):
                reply = await stream.receive()
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"BODY_TIMEOUT_S (0.2 s)" in reply


async def test_body_just_inside_its_limit_is_read(engine: FakeEngine) -> None:
    frame = len(b'{"prompt": ""}')
    async with serving(settings_for(engine.url, max_body_bytes=2048)) as gateway:
        got = await post(gateway, b'{"prompt": "%b"}' % (b"x" * (2048 - frame)))
        assert got.status_code == 200
        got = await post(gateway, b'{"prompt": "%b"}' % (b"x" * (2049 - frame)))
        assert got.status_code == 413


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        (script.Status(400, "bad sampling"), 400, "InvalidRequest"),
        (script.Garbage(), 502, "EngineFailure"),
        (script.Status(500, "out of paper"), 502, "EngineFailure"),
        (script.Close("before"), 503, "EngineLost"),
    ],
)
async def test_batch_without_any_answer_is_the_engines_error(
    engine: FakeEngine, action: script.Action, status: int, kind: str
) -> None:
    async with serving(settings_for(engine.url, max_engine_attempts=2)) as gateway:
        await engine.set_script([Rule(action)])
        for prompt in ("a", ["a", "b", ""]):
            assert error_of(await gateway.predict(prompt))[:2] == (status, kind)


async def test_failing_prompt_in_a_batch_is_an_empty_answer(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, max_engine_attempts=2)) as gateway:
        await engine.set_script([Rule(script.Status(500, "out of paper"), match="bad")])
        got = await gateway.predict(["good", "bad"])
        assert (got.status_code, got.json()) == (200, {"response": ["answer to: good", ""]})
        assert await gateway.sample("evalgate_answers_total", outcome="failed") == 1
        assert got.headers[ANSWERS_HEADER] == "whole=1 partial=0 blank=0 failed=1 unfinished=0"


async def test_deadline_gives_a_whole_list_with_what_there_is(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, predict_deadline_s=3)) as gateway:
        await engine.set_script([Rule(script.Stall(), match="stall")])
        started = anyio.current_time()
        got = await gateway.predict(["a", "stall", "b"])
        assert 3 <= anyio.current_time() - started < 13
        assert got.json() == {"response": ["answer to: a", "", "answer to: b"]}
        assert await gateway.sample("evalgate_deadline_hits_total") == 1


async def test_deadline_gives_unfinished_answers_as_far_as_they_came(engine: FakeEngine) -> None:
    """Cleaned up like any answer: the thinking is out, the text is trimmed."""
    thinking = "<think>so let me see</think> A warp is 32 threads"
    async with serving(settings_for(engine.url, predict_deadline_s=3)) as gateway:
        await engine.set_script(
            [
                Rule(script.HalfStream(2, "stall"), match="half"),
                Rule(script.Stall(), match="stall"),
                Rule(script.Trickle(0.1, "chunk"), match="slow" * 200),
                Rule(script.Text(thinking), match="thinking"),
            ]
        )
        got = await gateway.predict(["a", "half", "stall", "slow" * 200, "thinking", ""])
        answers = got.json()["response"]
        assert answers[:3] == ["answer to: a", "answer", ""]
        assert "answer to: slow".startswith(answers[3][:15]) and len(answers[3]) < 800
        assert answers[4:] == ["A warp is 32 threads", ""]
        assert got.headers[ANSWERS_HEADER] == "whole=2 partial=2 blank=1 failed=0 unfinished=1"
        assert await gateway.sample("evalgate_answers_total", outcome="partial") == 2
    assert (await engine.wait_until(lambda stats: stats.running == 0)).cancelled == 3


async def test_deadline_with_only_partial_answers_is_a_list_all_the_same(
    engine: FakeEngine,
) -> None:
    async with serving(settings_for(engine.url, predict_deadline_s=3)) as gateway:
        await engine.set_script([Rule(script.HalfStream(2, "stall"))])
        assert (await gateway.predict(["a", "b"])).json() == {"response": ["answer", "answer"]}


async def test_deadline_without_streaming_has_whole_answers_only(engine: FakeEngine) -> None:
    settings = settings_for(engine.url, predict_deadline_s=3, stream_answers=False)
    async with serving(settings) as gateway:
        await engine.set_script([Rule(script.Trickle(1), match="slow")])
        got = await gateway.predict(["a", "slow"])
    assert got.json() == {"response": ["answer to: a", ""]}


async def test_more_prompts_than_the_bound_are_told_to_come_again(engine: FakeEngine) -> None:
    settings = settings_for(engine.url, max_open_prompts=10, batch_concurrency=4)
    async with serving(settings) as gateway:
        await engine.set_script([Rule(script.Hold())])
        async with anyio.create_task_group() as group:
            # Over the bound by itself, but nothing else is open.
            group.start_soon(gateway.predict, ["a"] * 12)
            await engine.wait_until(lambda stats: stats.running == 4)
            refused = await gateway.predict("b")
            assert error_of(refused)[:2] == (429, "Overloaded")
            assert "MAX_OPEN_PROMPTS is 10" in error_of(refused)[2]
            assert int(refused.headers["retry-after"]) >= 1
            assert (await gateway.get("/")).status_code == 200
            assert await gateway.sample("evalgate_open_prompts") == 12
            await engine.set_script(Script())
            await engine.release()
        assert await gateway.sample("evalgate_open_prompts") == 0
        assert (await gateway.predict("b")).json() == {"response": "answer to: b"}


async def test_deadline_before_any_answer_is_504(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url, predict_deadline_s=0.3)) as gateway:
        await engine.set_script([Rule(script.Stall())])
        assert error_of(await gateway.predict(["a", "b"]))[:2] == (504, "EngineTimeout")


async def test_engine_that_never_comes_is_504_at_the_deadline() -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}", predict_deadline_s=0.3)
    async with serving(settings, is_warm=False) as gateway:
        assert error_of(await gateway.predict("a"))[:2] == (504, "EngineTimeout")
        assert (await gateway.predict("")).json() == {"response": ""}, "blank needs no engine"


async def ask_with_aiohttp(gateway: Gateway, prompts: list[str]) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"{gateway.url}/predict", json={"prompt": prompts})


async def test_client_that_leaves_takes_its_calls_along(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await engine.set_script([Rule(script.Stall(), match="stall")])
        await engine.reset_stats()
        async with anyio.create_task_group() as group:
            group.start_soon(ask_with_aiohttp, gateway, ["stall"] * 20)
            await engine.wait_until(lambda stats: stats.running == 8)
            group.cancel_scope.cancel()
        stats = await engine.wait_until(lambda stats: stats.running == 0)
        assert (stats.requests, stats.cancelled) == (8, 8), "no more were sent"
        await gateway.wait_for_sample("evalgate_clients_gone_total", 1)
        assert await gateway.sample("evalgate_prompts_in_flight") == 0
        assert (await gateway.predict("a")).json() == {"response": "answer to: a"}


async def test_client_that_leaves_in_mid_body_is_no_error(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
        await stream.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        await stream.aclose()
        await gateway.wait_for_sample("evalgate_requests_total", 1, route="/predict", status="499")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("state", ["", '{"phase": "running"}'], ids=["new", "started again"])
async def test_port_is_closed_until_the_engine_is_warm(
    own_engine: OwnEngine, tmp_path: Path, state: str
) -> None:
    """Also in a container that was started again, where the life before has left its state."""
    engine = own_engine(Script(health="503"))
    settings = _held(engine, tmp_path, state)

    async def warm_later(gate: anyio.Event) -> None:
        await gate.wait()
        await engine.set_script(Script())

    async with anyio.create_task_group() as group:
        may_warm = anyio.Event()
        group.start_soon(warm_later, may_warm)
        await _refused_then_served(settings, may_warm)


async def test_port_opens_at_once_where_the_engine_serves_already(
    own_engine: OwnEngine, tmp_path: Path
) -> None:
    """A gateway that died amid an evaluation: the batch that is sent again has to find it."""
    engine = own_engine(Script([Rule(script.Stall())]))  # never warm
    settings = _held(engine, tmp_path, '{"phase": "running"}')
    async with serving(settings, is_warm=False) as gateway:
        assert (await gateway.get("/")).status_code == 503


@pytest.mark.parametrize("state", ['{"phase": "starting"}', '{"phase": "external"}', "[]"])
async def test_port_stays_closed_before_an_engine_that_may_be_new(
    own_engine: OwnEngine, tmp_path: Path, state: str
) -> None:
    engine = own_engine(Script([Rule(script.Stall())]))
    port: list[int] = []
    settings = _held(engine, tmp_path, state)

    async def start() -> None:
        async with serving(settings, is_warm=False, on_bound=port.append):
            raise AssertionError("it opened its port")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await engine.wait_until(lambda stats: stats.running > 0)
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", port[0])
        group.cancel_scope.cancel()


def _held(engine: FakeEngine, folder: Path, state: str) -> Settings:
    file = folder / "engine.json"
    file.write_text(state)
    return settings_for(engine.url, hold_port_until_warm=True, engine_state_file=file)


async def _refused_then_served(settings: Settings, may_warm: anyio.Event) -> None:
    port: list[int] = []

    async def knock() -> None:
        await wait_until(lambda: bool(port))
        for _ in range(20):
            with pytest.raises(OSError):
                await anyio.connect_tcp("127.0.0.1", port[0])
        may_warm.set()

    async with anyio.create_task_group() as group:
        group.start_soon(knock)
        async with serving(settings, is_warm=False, on_bound=port.append) as gateway:
            assert (await gateway.get("/")).json() == {"status": "batch"}
            assert (await gateway.predict("a")).json() == {"response": "answer to: a"}


def lines_of(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "gateway.predict"]


async def test_batch_is_one_log_line_without_its_text(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    async with serving(settings_for(engine.url)) as gateway:
        await engine.set_script([Rule(script.Garbage(), match="bad")])
        await gateway.client.post(
            "/predict",
            json={"prompt": ["my secret", "", "bad secret"]},
            headers={"X-Request-Id": "run-1"},
        )
    [line] = lines_of(caplog)
    fields = line.fields
    assert (line.levelname, fields["request_id"], fields["prompts"]) == ("WARNING", "run-1", 3)
    assert (fields["whole"], fields["blank"], fields["failed"]) == (1, 1, 1)
    assert "not a chat completion" in line.getMessage()
    assert fields["seconds"] >= 0
    assert all("secret" not in str(vars(record)) for record in caplog.records)


async def test_prompts_are_logged_when_asked_for(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    async with serving(settings_for(engine.url, log_prompts=True)) as gateway:
        await gateway.predict(["my secret"])
    [line] = lines_of(caplog)
    assert line.fields["exchanges"] == [("my secret", "answer to: my secret")]


async def test_pipelined_requests_are_answered_in_order(calm_gateway: Gateway) -> None:
    request = b""
    for name in (b"a", b"b", b"c"):
        body = b'{"prompt": "%b"}' % name
        request += b"POST /predict HTTP/1.1\r\nHost: x\r\n"
        request += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    reply = b""
    async with await anyio.connect_tcp("127.0.0.1", calm_gateway.port) as stream:
        await stream.send(request)
        with anyio.fail_after(5):
            while reply.count(b"}") < 3:
                reply += await stream.receive()
    assert re.findall(rb"answer to: (.)", reply) == [b"a", b"b", b"c"]
