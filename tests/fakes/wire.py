"""HTTP/1.1 on a raw transport: requests in, bytes out, and the ways to break a connection.

Owns the connection. Must not know what a request means.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Request:
    """A request with its whole body; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    is_reused: bool
    """The connection carried a request before."""


class BadMessage(ValueError):
    """Bytes that are no HTTP/1.1 request with a content length."""


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, path and headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadMessage(f"not a request line: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadMessage(f"not a header: {line[:80]!r}")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise BadMessage("a body without a content length")
    return words[0], words[1].partition("?")[0], headers


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return an answer's status line and headers."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body; no data is its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


Handler = Callable[[Request, "Connection"], "Coroutine[None, None, None] | None"]


class Connection(asyncio.Protocol):
    """One client's connection: hands requests to `handler` one at a time.

    A handler answers at once and returns None, or returns a coroutine, which is cancelled as soon
    as the client goes away. `on_close` is called once.
    """

    def __init__(self, handler: Handler, on_close: Callable[[Connection], None]) -> None:
        self._handler = handler
        self._on_close = on_close
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_last = False
        self.transport: asyncio.Transport
        self.requests = 0
        self.is_counted = False
        self.idle_close_s: float | None = None
        self.idle_close_is_reset = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_idle_timer()
        if self._task is not None:
            self._task.cancel()
        self._on_close(self)

    def data_received(self, data: bytes) -> None:
        self._stop_idle_timer()
        self._buffer += data
        if self._task is None:
            self._serve()

    def _serve(self) -> None:
        """Serve what the buffer holds; a coroutine's end calls this again."""
        while not self.transport.is_closing():
            try:
                request = self._take_request()
            except BadMessage as exc:
                self.respond(400, str(exc).encode(), "text/plain")
                self.close()
                return
            if request is None:
                break
            self.requests += 1
            self._is_last = request.headers.get("connection", "").lower() == "close"
            work = self._handler(request, self)
            if work is not None:
                self._task = asyncio.get_running_loop().create_task(work)
                self._task.add_done_callback(self._task_done)
                return
            self._close_if_last()
        self._start_idle_timer()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if task.exception() is not None:
            self.reset()
        task.result()  # a bug of the fake: the loop prints it
        self._close_if_last()
        self._serve()

    def _close_if_last(self) -> None:
        if self._is_last:
            self.close()

    def _take_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadMessage("the head is too long")
            return None
        method, path, headers = parse_head(bytes(self._buffer[:end]))
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise BadMessage(f"content-length {length!r}")
        total = end + 4 + int(length)
        if len(self._buffer) < total:
            return None
        body = bytes(self._buffer[end + 4 : total])
        del self._buffer[:total]
        return Request(method, path, headers, body, is_reused=self.requests > 0)

    def _start_idle_timer(self) -> None:
        if self.idle_close_s is None or self._buffer or self.transport.is_closing():
            return
        end = self.reset if self.idle_close_is_reset else self.close
        self._idle_timer = asyncio.get_running_loop().call_later(self.idle_close_s, end)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.transport.write(data)

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer."""
        fields = {"content-type": content_type, "content-length": str(len(body))}
        self.send(head(status, {**fields, **(headers or {})}) + body)

    def close(self) -> None:
        """Close after what was sent (FIN)."""
        self.transport.close()

    def reset(self) -> None:
        """Break the connection: the client sees a reset (RST)."""
        linger = struct.pack("ii", 1, 0)
        handle = self.transport.get_extra_info("socket")
        if not self.transport.is_closing():
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()
