"""Owns the load generator: HTTP requests on connections that stay open, as cheap as can be.

It knows nothing of what is asked. Its own cost is small, and in another process than what is
measured: it only shares the machine with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

import httptools

TIMEOUT_S = 300.0
_HEAD = (
    "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\n\r\n"
)


class LoadError(Exception):
    """A request got no answer, or another status than 200."""


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether the next request can go out on it."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> bytes:
        """Send a request; return the body of the answer. Raises LoadError."""
        assert self._transport is not None and self._answer is None
        self._parts = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()  # its answer is not to become that of another request
            raise
        finally:
            self._answer = None

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Take in some bytes."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._fail(f"no HTTP: {exc}")

    def on_body(self, data: bytes) -> None:
        """Take in a part of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Hand out the body."""
        body = b"".join(self._parts)
        status = self._parser.get_status_code()
        if status != 200:
            self._fail(f"status {status}: {body[:300].decode(errors='replace')}")
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(body)
        if not self._parser.should_keep_alive():
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._fail("the connection ended")

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadError(why))


class Load:
    """So many connections to one route of a server on this machine."""

    def __init__(self, port: int, path: str, concurrency: int) -> None:
        self._port = port
        self._path = path
        self._connections: list[Connection | None] = [None] * concurrency

    async def connect(self) -> None:
        """Open the connections that are not open, so that no request has to wait for that."""
        for place, connection in enumerate(self._connections):
            if connection is None or not connection.is_open:
                self._connections[place] = await self._open()

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection

    async def send(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Post all bodies, one at a time on each connection; return the answers in order.

        Raises LoadError.
        """
        requests = enumerate(map(self._request, bodies))
        answers = [b""] * len(bodies)
        workers = [
            asyncio.create_task(self._work(place, requests, answers))
            for place in range(len(self._connections))
        ]
        done, pending = await asyncio.wait(
            workers, timeout=TIMEOUT_S, return_when=asyncio.FIRST_EXCEPTION
        )
        for worker in pending:
            worker.cancel()
        for error in [worker.exception() for worker in done]:
            if error is not None:
                raise error
        if pending:
            raise LoadError(f"not all answers within {TIMEOUT_S:g} s")
        return answers

    def _request(self, body: bytes) -> bytes:
        return _HEAD.format(self._path, len(body)).encode() + body

    async def _work(
        self, place: int, requests: Iterator[tuple[int, bytes]], answers: list[bytes]
    ) -> None:
        for index, request in requests:
            connection = self._connections[place]
            if connection is None or not connection.is_open:
                connection = self._connections[place] = await self._open()
            answers[index] = await connection.ask(request)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            if connection is not None:
                connection.close()
