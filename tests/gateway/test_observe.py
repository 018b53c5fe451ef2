from __future__ import annotations

import string

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from gateway.metrics import Metrics
from gateway.observe import Observe
from tests.fakes.running import FakeEngine
from tests.gateway.serving import Gateway, serving, settings_for

pytestmark = pytest.mark.anyio


async def exchange(gateway: Gateway, header: bytes) -> bytes:
    """Send a raw X-Request-Id, as no client library would, and return the one that comes back."""
    stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
    async with stream:
        await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header)
        await stream.send(b"\r\n")
        reply = b""
        with anyio.fail_after(5):
            async for chunk in stream:
                reply += chunk
    assert reply.startswith(b"HTTP/1.1 200 "), reply
    head = reply.partition(b"\r\n\r\n")[0].lower()
    [value] = [line for line in head.split(b"\r\n") if line.startswith(b"x-request-id:")]
    return value.partition(b":")[2].strip()


def is_own(request_id: bytes) -> bool:
    return len(request_id) == 32 and set(request_id.decode()) <= set(string.hexdigits)


@pytest.mark.parametrize("given", [b"a", b"batch-7", b"A.b_c:d/e+f=g@h", b"x" * 128])
async def test_given_id_comes_back(calm_gateway: Gateway, given: bytes) -> None:
    told = await exchange(calm_gateway, b"x-ReQuEsT-iD: " + given + b"\r\n")
    assert told == given.lower()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"X-Request-Id:\r\n",
        b"X-Request-Id: two words\r\n",
        b"X-Request-Id: quote\"\r\n",
        b"X-Request-Id: \xe4\xb8\xad\r\n",
        b"X-Request-Id: " + b"x" * 129 + b"\r\n",
        b"X-Request-Id: <script>\r\n",
    ],
)  # fmt: skip
async def test_missing_or_unusable_id_is_replaced(calm_gateway: Gateway, header: bytes) -> None:
    first, second = [await exchange(calm_gateway, header) for _ in range(2)]
    assert is_own(first) and is_own(second) and first != second


async def test_id_goes_to_the_engine_with_the_prompts_index(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        response = await gateway.client.post(
            "/predict", json={"prompt": ["", "question"]}, headers={"X-Request-Id": "run-42"}
        )
    assert response.headers["x-request-id"] == "run-42"
    assert (await engine.stats()).last_headers["x-request-id"].startswith("run-42-1-")


async def test_requests_are_counted_by_route_and_status(engine: FakeEngine) -> None:
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict("hello")
        await gateway.predict(None)
        for path in ("/one", "/two", "/predict/../secret"):
            await gateway.get(path)
        for route, status, count in (
            ("/predict", "200", 1),
            ("/predict", "400", 1),
            ("other", "404", 3),
        ):
            told = await gateway.sample("evalgate_requests_total", route=route, status=status)
            assert told == count, (route, status)
        assert "/one" not in (await gateway.get("/metrics")).text


async def test_what_is_not_http_passes_through() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> None:
        raise AssertionError("no message is expected")

    observe = Observe(app, Metrics(), frozenset({"/"}))
    await observe({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
