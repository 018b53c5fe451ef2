"""The load generator against servers on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.fanout_load import Load, LoadError

pytestmark = pytest.mark.anyio
Respond = Callable[[bytes], Awaitable[bytes]]


def reply(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def server(respond: Respond) -> AsyncIterator[tuple[int, list[str]]]:
    """Answer each request's body on a free port; an empty answer ends the connection."""
    opened: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append("connection")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                answer = await respond(await reader.readexactly(length))
                if not answer:
                    break
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], opened


@asynccontextmanager
async def load_of(port: int, concurrency: int) -> AsyncIterator[Load]:
    load = Load(port, "/", concurrency)
    await load.connect()
    try:
        yield load
    finally:
        load.close()


async def echo(body: bytes) -> bytes:
    return reply(b"<" + body + b">")


async def test_answers_come_back_in_order() -> None:
    bodies = [str(number).encode() for number in range(50)]

    async with server(echo) as (port, _), load_of(port, 7) as load:
        assert await load.send(bodies) == [b"<" + body + b">" for body in bodies]


async def test_as_many_are_under_way_as_was_asked() -> None:
    """The server answers nobody until all of them are there: fewer would wait for ever."""
    everybody, here = asyncio.Event(), []

    async def respond(body: bytes) -> bytes:
        here.append(body)
        if len(here) == 5:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 10)
        return reply(b"x")

    async with server(respond) as (port, _), load_of(port, 5) as load:
        assert await load.send([b"a"] * 5) == [b"x"] * 5


async def test_connections_are_used_again() -> None:
    async with server(echo) as (port, opened), load_of(port, 3) as load:
        await load.send([b"a"] * 20)
        await load.connect()
        await load.send([b"a"] * 20)

        assert len(opened) == 3


async def test_connection_that_the_server_ends_is_opened_again() -> None:
    async def respond(body: bytes) -> bytes:
        return reply(body, head="Connection: close\r\n")

    async with server(respond) as (port, opened), load_of(port, 1) as load:
        assert await load.send([b"a", b"b", b"c"]) == [b"a", b"b", b"c"]
        assert len(opened) == 3


async def test_other_status_than_200_is_an_error() -> None:
    async def respond(body: bytes) -> bytes:
        return reply(b"too many", "429 Too Many Requests")

    async with server(respond) as (port, _), load_of(port, 2) as load:
        with pytest.raises(LoadError, match="status 429: too many"):
            await load.send([b"a"] * 4)


async def test_connection_that_ends_without_an_answer_is_an_error() -> None:
    async def respond(body: bytes) -> bytes:
        return b""

    async with server(respond) as (port, _), load_of(port, 1) as load:
        with pytest.raises(LoadError, match="ended"):
            await load.send([b"a"])


async def test_what_is_no_http_is_an_error() -> None:
    async def respond(body: bytes) -> bytes:
        return b"\0\0\0\0 garbage\r\n\r\n"

    async with server(respond) as (port, _), load_of(port, 1) as load:
        with pytest.raises(LoadError, match="no HTTP"):
            await load.send([b"a"])
