"""A client of the gateway that notes how a reply ends: whole, cut before its start, cut in half.

Must not judge answers.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

# Longer than any deadline that a row sets: a reply that never comes fails the row.
LIMIT_S = 500.0
COUNTS_HEADER = "X-Evalgate-Answers"
Cut = Literal["", "no answer", "half an answer"]


@dataclass(frozen=True)
class Reply:
    """What came back; `status` is 0 when nothing did."""

    status: int
    seconds: float
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: Cut = ""

    @property
    def answers(self) -> list[str]:
        """The answers of a 200; none for any other reply, or one that is no JSON."""
        if self.status != 200 or self.cut:
            return []
        response = json.loads(self.body)["response"]
        return response if isinstance(response, list) else [response]

    @property
    def counts(self) -> dict[str, int]:
        """How many answers were whole, partial, …; empty where the gateway does not tell."""
        told = self.headers.get(COUNTS_HEADER.lower(), "")
        pairs = (part.partition("=") for part in told.split())
        return {name: int(count) for name, _, count in pairs}

    def __str__(self) -> str:
        told = self.cut or self.body[:200].decode(errors="replace")
        return f"status {self.status} after {self.seconds:.1f} s: {told}"


class Post(threading.Thread):
    """One POST to /predict, under way in a thread of its own."""

    def __init__(
        self, url: str, prompt: str | Sequence[str], limit_s: float = LIMIT_S, **fields: Any
    ) -> None:
        super().__init__(daemon=True)
        asked = prompt if isinstance(prompt, str) else list(prompt)
        self._body = json.dumps({"prompt": asked, **fields}).encode()
        self._connection = connect(url, limit_s)
        self._limit_s = limit_s
        self._reply: Reply | None = None
        self._sent = threading.Event()
        self.started = time.monotonic()
        self.start()

    @property
    def is_done(self) -> bool:
        """Whether the reply is there."""
        return self._reply is not None

    def run(self) -> None:
        """Send, and note what comes back."""
        send = self._sent.set
        self._reply = exchange(self._connection, "POST", "/predict", self._body, on_sent=send)
        self._sent.set()
        self._connection.close()

    def wait(self) -> Reply:
        """Block until the reply is there."""
        self.join(self._limit_s + 10)
        return self._reply or Reply(0, self._limit_s, cut="no answer")

    def leave(self) -> None:
        """Close the connection as a client does that is killed, once the request is out."""
        self._sent.wait(self._limit_s)
        with suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)


def connect(url: str, limit_s: float = LIMIT_S) -> http.client.HTTPConnection:
    """Return a connection that is opened by its first request."""
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=limit_s)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    on_sent: Callable[[], object] = lambda: None,
) -> Reply:
    """Send one request and read its reply, as far as it comes."""
    start = time.monotonic()
    response: http.client.HTTPResponse | None = None
    try:
        connection.request(method, path, body)
        on_sent()
        response = connection.getresponse()
        data = response.read()
    except (OSError, http.client.HTTPException):
        cut: Cut = "no answer" if response is None else "half an answer"
        return Reply(0, time.monotonic() - start, cut=cut)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, time.monotonic() - start, data, headers)


def get(url: str, path: str, limit_s: float = 10.0) -> Reply:
    """Ask once, on a connection of its own."""
    connection = connect(url, limit_s)
    try:
        return exchange(connection, "GET", path)
    finally:
        connection.close()


def is_ready(url: str) -> bool:
    """Whether `GET /` says 200."""
    return get(url, "/").status == 200


def metric(url: str, name: str) -> float:
    """Sum a metric's samples over its labels; 0 when there are none, or no server."""
    return total(get(url, "/metrics", 60).body.decode(errors="replace"), name)


def total(exposition: str, name: str) -> float:
    """Sum the samples of exactly this name in a Prometheus exposition."""
    lines = exposition.splitlines()
    found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in found)
