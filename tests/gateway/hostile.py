"""Owns the wire to a gateway under attack: raw bytes out, replies in, and whether it still stands.

It knows no attack; those are in attacks.py and in the tests.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import psutil

from tests.fakes.running import FakeEngine
from tests.gateway.serving import DEADLINE_S, POLL_S, gateway_process

SCALE = int(os.environ.get("HOSTILE_SCALE", "1"))
"""Multiplies the number of generated cases; over 1 they are also others in every run."""
MAX_BODY_BYTES = 1024 * 1024
MAX_PROMPTS = 100
SETTINGS = {
    "BATCH_CONCURRENCY": "8",
    "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "MAX_BATCH_PROMPTS": str(MAX_PROMPTS),
    "PREDICT_DEADLINE_S": "15",
}
GOOD_BODY = '{"prompt": ["什么是warp？", "b"]}'.encode()
GOOD_ANSWER = {"response": ["answer to: 什么是warp？", "answer to: b"]}


@dataclass(frozen=True)
class Reply:
    """One response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_plain_refusal(self) -> bool:
        """Tell whether the server itself found that this is no HTTP request."""
        return (self.status, self.body) == (400, b"Invalid HTTP request received.")

    def check(self) -> None:
        """Assert what holds for every response: its form, a status below 500, no traceback."""
        assert self.status < 500, self
        assert b"Traceback" not in self.body, self
        if self.is_plain_refusal:
            assert self.headers["connection"] == "close"
        elif self.status >= 400 and self.body:
            error = json.loads(self.body)["error"]
            assert set(error) == {"type", "message", "request_id"}
            assert error["request_id"] == self.headers["x-request-id"]
            assert all(isinstance(value, str) for value in error.values())
            # What was sent does not come back, save the path that is not there.
            assert len(error["message"]) < 300 or self.status == 404


class Wire:
    """One connection to the gateway; a context manager that closes it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file: IO[bytes] = self._socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, as a client does that has what it wanted."""
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        """End the connection at once, whatever is under way."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def send(self, data: bytes) -> None:
        """Send all; the other side may have closed already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def trickle(self, data: bytes, pause_s: float) -> None:
        """Send byte by byte."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            time.sleep(pause_s)  # being slow is the attack

    def end(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reply(self) -> Reply | None:
        """Block until the next response is here; None when the connection ended before it."""
        try:
            line = self._file.readline()
            if not line.endswith(b"\r\n"):
                return None
            version, status, _ = line.decode("latin-1").split(" ", 2)
            assert version == "HTTP/1.1", line
            headers = {
                name.lower(): value for name, value in http.client.parse_headers(self._file).items()
            }
            body = self._file.read(int(headers.get("content-length", "0")))
        except ConnectionResetError:
            return None
        return Reply(int(status), headers, body)

    def replies(self) -> list[Reply]:
        """Block until the other side has closed; return what it said until then."""
        return list(iter(self.reply, None))


@dataclass
class Target:
    """A gateway as a process of its own, on an engine that answers everything."""

    port: int
    process: psutil.Process
    log: bytearray = field(default_factory=bytearray)
    cases: int = 0

    def wire(self) -> Wire:
        """Open a connection, for one more case."""
        self.cases += 1
        return Wire(self.port)

    def check(self) -> None:
        """Assert that it stands and answers, whatever it was sent before."""
        with Wire(self.port) as wire:
            wire.send(post(GOOD_BODY))
            reply = wire.reply()
        assert reply is not None and reply.status == 200, (reply, self.log[-2000:])
        assert json.loads(reply.body) == GOOD_ANSWER

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < deadline, self.log[-2000:]
            time.sleep(POLL_S)

    @property
    def rss_bytes(self) -> int:
        """Bytes of memory that it holds now."""
        rss: int = self.process.memory_info().rss
        return rss


def post(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    """Return a whole, well-framed request."""
    length = f"Content-Length: {len(body)}"
    return head("POST", path, length, *headers) + body


def head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


@contextmanager
def under_attack(name: str) -> Iterator[Target]:
    """Run a warm gateway; at the end assert that it never crashed, and print how many cases."""
    with FakeEngine.start() as engine:
        environment = {**SETTINGS, "ENGINE_URL": engine.url}
        with gateway_process(environment) as gateway:
            target = Target(gateway.port, psutil.Process(gateway.pid))
            with reading([gateway.process.stdout, gateway.process.stderr], target.log):
                try:
                    target.wait_until(lambda: b"ready at" in target.log)
                    yield target
                    target.check()
                finally:
                    gateway.signal(signal.SIGTERM)
                    code = gateway.process.wait(DEADLINE_S)
    # uvicorn raises the signal that stopped it once more after its clean end.
    assert code == -signal.SIGTERM
    assert not crashes(target.log)
    print(f"hostile input, {name}: {target.cases} cases, 0 failures")


def crashes(log: bytearray) -> list[str]:
    """Return the tracebacks in a log, by their last lines, save one that is not the gateway's.

    uvicorn does not notice that a client left which had sent further requests ahead: it writes the
    answer of the first to a connection that is closed, and uvloop refuses that with an error.
    """
    ends = re.findall(r"^Traceback .*?^(\S[^\n]*)$", log.decode(), re.MULTILINE | re.DOTALL)
    return [end for end in ends if not end.endswith("the handler is closed")]


@contextmanager
def reading(streams: Iterable[IO[bytes] | None], log: bytearray) -> Iterator[None]:
    """Collect what streams say, so that a full pipe does not block who writes to them."""

    def read(stream: IO[bytes]) -> None:
        while chunk := stream.read(65536):
            log.extend(chunk)

    threads = [threading.Thread(target=read, args=[stream]) for stream in streams if stream]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(DEADLINE_S)
