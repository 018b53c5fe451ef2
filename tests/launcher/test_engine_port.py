"""What the engine's port tells, against real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import pytest

from launcher.engine_port import ask_status, fetch_text, is_healthy, post, wait_until_free
from launcher.errors import CannotStart
from tests.fakes.running import FakeEngine
from tests.ports import free_port
from tests.turns import let_others_run


@pytest.fixture
def answer() -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def server(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that gives one answer in two parts, and then closes."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer[:9])
            await let_others_run()
            await stream.send(answer[9:])

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_200_is_healthy(server: str) -> None:
    assert await is_healthy(server, "/health")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"no line end at all",
        b"",
        b"\r\n\r\n\r\n",
    ],
)
async def test_other_answers_are_not(server: str) -> None:
    assert not await is_healthy(server, "/health")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
        (b"HTTP/1.1 2x0 No\r\n\r\n", None),
        (b"HTTP/1.1\r\n\r\n", None),
    ],
)
async def test_a_status_is_read_from_any_answer(server: str, status: int | None) -> None:
    assert await ask_status(server, "/health", 5) == status
    assert await post(server, "/v1", b"{}", {"Authorization": "Bearer x"}, 5) == status


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nline 1\r\n\r\nline 2\xff"])
async def test_a_body_is_read_to_the_end_of_the_connection(server: str) -> None:
    assert await fetch_text(server, "/metrics", 5) == (200, "line 1\r\n\r\nline 2\ufffd")


@pytest.mark.anyio
async def test_what_is_sent_is_a_whole_request() -> None:
    with FakeEngine.start() as engine:
        body = b'{"messages": [{"role": "user", "content": "hello"}]}'
        headers = {"Authorization": "Bearer sesame"}
        assert await post(engine.url, "/v1/chat/completions", body, headers, 10) == 200
        stats = await engine.stats()
        assert stats.by_prompt == {"hello": 1}
        assert stats.last_headers["authorization"] == "Bearer sesame"
        status, text = await fetch_text(engine.url, "/metrics", 10)
        assert status == 200
        assert "vllm:num_requests_running" in text


@pytest.mark.anyio
async def test_no_text_comes_from_where_nobody_is() -> None:
    assert await fetch_text(f"http://127.0.0.1:{free_port()}", "/metrics", 5) == (None, "")


@pytest.mark.anyio
async def test_nobody_there_is_not() -> None:
    assert not await is_healthy(f"http://127.0.0.1:{free_port()}", "/health")


@pytest.mark.anyio
async def test_silence_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not await is_healthy(f"http://127.0.0.1:{port}", "/health", timeout_s=0.1)


@pytest.mark.anyio
async def test_a_proxy_of_the_environment_is_not_asked(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await is_healthy(server, "/health")


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_a_free_port_is_free_at_once(host: str) -> None:
    await wait_until_free(host, free_port(), timeout_s=0)


@pytest.mark.anyio
async def test_a_port_that_gets_free_in_time_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_until_free, "127.0.0.1", other.getsockname()[1], 10)
            await let_others_run()
            other.close()


@pytest.mark.anyio
async def test_a_port_that_stays_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotStart, match=f"ENGINE_PORT={port}: another program listens"):
            await wait_until_free("127.0.0.1", port, timeout_s=0.05)


@pytest.mark.anyio
async def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotStart, match=r"ENGINE_HOST=192\.0\.2\.1 ENGINE_PORT=\d+: Cannot"):
        await wait_until_free("192.0.2.1", free_port(), timeout_s=5)
