from __future__ import annotations

import asyncio

import pytest

from evaluator.client import Answers, Client, PredictFailed, Sighting, check_url
from tests.fakes.service import Action, FakeService, Health, Rule

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("health", "sighting"),
    [
        ("ok", Sighting("single", "healthy")),
        ("batch", Sighting("batch", "healthy")),
        ("503", Sighting(None, "status 503")),
        ("404", Sighting(None, "status 404")),
        ("warming", Sighting(None, 'status "warming"')),
        ("not json", Sighting(None, "200 without a status")),
        ("no status", Sighting(None, "200 without a status")),
        ("reset", Sighting(None, "connection cut")),
    ],
)
async def test_look_tells_what_it_saw(health: Health, sighting: Sighting) -> None:
    async with FakeService(health=[health]).running() as service, Client(service.url) as client:
        assert await client.look() == sighting


async def test_look_at_nothing() -> None:
    service = FakeService()
    service.reserve_port()
    async with Client(service.url) as client:
        assert await client.look() == Sighting(None, "refused")
    await service.close()
    async with Client("http://no-such-host.invalid") as client:
        assert await client.look() == Sighting(None, "unknown host")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with FakeService().running() as service, Client(service.url) as client:
        assert await client.ask_one("a") == "answer to a"


async def test_answers_come_back_in_order() -> None:
    async with FakeService().running() as service, Client(service.url + "/") as client:
        assert await client.ask_batch(["a", "b"]) == Answers(["answer to a", "answer to b"], {})
        assert await client.ask_one("c") == "answer to c"
        assert service.posts == [["a", "b"], "c"]


@pytest.mark.parametrize(
    ("header", "ended"),
    [
        ("whole=356 partial=2 blank=0", {"whole": 356, "partial": 2, "blank": 0}),
        ("partial=x whole 3 failed=-1", {}),
        (f"partial={'9' * 5000}", {}),
    ],
)
async def test_what_the_header_tells_comes_back(header: str, ended: dict[str, int]) -> None:
    rules = [Rule(ended=header)]
    async with FakeService(rules).running() as service, Client(service.url) as client:
        assert (await client.ask_batch(["a"])).ended == ended


async def test_half_a_surrogate_pair_is_sent() -> None:
    async with FakeService(answer=len).running() as service:  # type: ignore[arg-type]
        async with Client(service.url) as client:
            with pytest.raises(PredictFailed, match="got `int`"):
                await client.ask_one("\ud800")
        assert service.posts == ["\ud800"]


@pytest.mark.parametrize(
    ("action", "message", "status"),
    [
        ("status", r"status 500, says '{\"error\": \"as told\"}'", 500),
        ("garbage", "the body is not the contract: .*; it is '<html>", 200),
        ("numbers", r"Expected `str`, got `int` - at `\$.response\[0\]`", 200),
        ("no field", "missing required field `response`", 200),
        ("cut", "connection cut", 0),
        ("reset", "connection cut", 0),
    ],
)
async def test_what_is_no_answer_says_what_it_is(action: Action, message: str, status: int) -> None:
    async with FakeService([Rule(action)]).running() as service, Client(service.url) as client:
        with pytest.raises(PredictFailed, match=message) as caught:
            await client.ask_batch(["a", "b"])
        assert caught.value.status == status


async def test_long_body_is_shown_in_part() -> None:
    async with FakeService(answer=lambda prompt: prompt * 1000).running() as service:
        async with Client(service.url) as client:
            with pytest.raises(PredictFailed) as caught:
                await client.ask_batch("长")  # type: ignore[arg-type]
        assert len(str(caught.value)) < 300
        assert "…" in str(caught.value)


async def test_metrics_where_there_are_some() -> None:
    async with FakeService(metrics=["a 1"]).running() as service, Client(service.url) as client:
        assert await client.metrics() == "a 1"
    async with FakeService().running() as service, Client(service.url) as client:
        assert await client.metrics() == ""
    async with Client(service.url) as client:
        assert await client.metrics() == ""


async def test_something_that_does_not_speak_http_is_named() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(f"http://127.0.0.1:{port}") as client:
        assert (await client.look()).what.startswith("not HTTP (illegal status line")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://example.org/base/"])
def test_url_of_a_service(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://a", "http://", "http://a?b", "http://a:b"]
)
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        check_url(url)
