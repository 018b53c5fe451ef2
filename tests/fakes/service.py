"""A service with `GET /` and `POST /predict` that does what a script says, on a real socket.

In a test's own event loop (`FakeService`), or as a program, for what starts and stops services:
`python -m tests.fakes.service --port 9000 --child --ignore-sigterm`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from anyio.from_thread import start_blocking_portal

from tests.fakes.exchange import never
from tests.fakes.wire import Connection, Request, head

Health = Literal["ok", "batch", "503", "404", "warming", "not json", "no status", "stall", "reset"]
Action = Literal[
    "answer",
    "stall",
    "short",
    "long",
    "garbage",
    "numbers",
    "no field",
    "cut",
    "reset",
    "status",
    "empty",
    "partial",
]


Work = Coroutine[None, None, None] | None
Value = TypeVar("Value")


@dataclass(frozen=True)
class Rule:
    """What happens to a POST that has `match` in one of its prompts.

    `empty` leaves out the answers to these prompts, `partial` gives half of them.
    """

    action: Action = "answer"
    match: str = ""
    times: int | None = None
    """How often it applies; None: always."""
    delay_s: float = 0.0
    code: int = 500
    """Of the action `status`."""
    ended: str = ""
    """What the gateway's header tells of the prompts, such as "whole=2 partial=1"."""


def echo(prompt: str) -> str:
    """The default answer."""
    return f"answer to {prompt}"


class FakeService:
    """Answers `GET /` by `health` in turn, the last one for good, and POSTs by the first rule."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        health: Sequence[Health] = ("batch",),
        answer: Callable[[str], str] = echo,
        metrics: Sequence[str] = (),
    ) -> None:
        self.rules = list(rules)
        self.health = list(health)
        self.metrics = list(metrics)
        self.port = 0
        self.posts: list[str | list[str]] = []
        """The prompt of every POST, in the order they came."""
        self.answered: list[str] = []
        """Every prompt whose answer went out."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._answer = answer
        self._left = [rule.times for rule in rules]
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def reserve_port(self, port: int = 0) -> None:
        """Take a port whose connections are refused until `listen`."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]

    async def listen(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=self._socket)

    async def close(self) -> None:
        """Refuse new connections and cut those that are open."""
        if self._server is not None:
            # What was accepted just now must be attached to the server before that is closed:
            # asyncio leaves it open otherwise.
            asyncio.get_running_loop().remove_reader(self._socket)
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        self._socket.close()
        while self._connections:  # gone within a turn or two of the loop
            for connection in list(self._connections):
                connection.reset()
            await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeService]:
        """Serve for the length of a block."""
        self.reserve_port()
        await self.listen()
        try:
            yield self
        finally:
            await self.close()

    @contextmanager
    def running_in_a_thread(self) -> Iterator[FakeService]:
        """The same beside code that has the main thread, and its signals, for itself."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self.running()),
        ):
            yield self

    def _connect(self) -> Connection:
        connection = Connection(self._handle, self._connections.discard)
        self._connections.add(connection)
        return connection

    def _handle(self, request: Request, connection: Connection) -> Work:
        if (request.method, request.path) == ("GET", "/"):
            return self._show_health(connection)
        if (request.method, request.path) == ("POST", "/predict"):
            return self._predict(request, connection)
        if request.path == "/metrics" and self.metrics:
            connection.respond(200, _next(self.metrics).encode(), "text/plain")
        elif request.path == "/_fake/seen":
            connection.respond(200, json.dumps([self.posts, self.answered]).encode())
        else:
            connection.respond(404, b"")
        return None

    def _show_health(self, connection: Connection) -> Work:
        health = _next(self.health)
        if health == "stall":
            return never()
        if health == "reset":
            connection.reset()
        else:
            status, body = _HEALTH_BODIES[health]
            connection.respond(status, body)
        return None

    async def _predict(self, request: Request, connection: Connection) -> None:
        prompt = json.loads(request.body)["prompt"]
        self.posts.append(prompt)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            prompts = prompt if isinstance(prompt, list) else [prompt]
            rule = self._choose(prompts)
            await asyncio.sleep(rule.delay_s)
            if rule.action == "stall":
                await never()
            self._respond(rule, connection, prompts, isinstance(prompt, list))
        finally:
            self.in_flight -= 1

    def _choose(self, prompts: Sequence[str]) -> Rule:
        for index, rule in enumerate(self.rules):
            left = self._left[index]
            if left != 0 and any(rule.match in prompt for prompt in prompts):
                self._left[index] = None if left is None else left - 1
                return rule
        return Rule()

    def _respond(
        self, rule: Rule, connection: Connection, prompts: Sequence[str], is_batch: bool
    ) -> None:
        answers = [_shorten(rule, prompt, self._answer(prompt)) for prompt in prompts]
        if rule.action == "answer":
            self.answered += prompts
        if rule.action == "status":
            connection.respond(rule.code, b'{"error": "as told"}')
        elif rule.action == "reset":
            connection.reset()
        elif rule.action == "cut":
            body = json.dumps({"response": answers}).encode()
            connection.send(head(200, {"content-length": str(len(body))}) + body[: len(body) // 2])
            connection.close()
        else:
            value = _body(rule.action, answers, is_batch)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            headers = {"X-Evalgate-Answers": rule.ended} if rule.ended else {}
            connection.respond(200, body, headers=headers)


def _shorten(rule: Rule, prompt: str, answer: str) -> str:
    if rule.action not in ("empty", "partial") or rule.match not in prompt:
        return answer
    return "" if rule.action == "empty" else answer[: len(answer) // 2]


def _body(action: Action, answers: list[str], is_batch: bool) -> object:
    if action == "garbage":
        return b"<html>\xff\x00 Internal Server Error"
    if action == "no field":
        return {"answer": answers}
    if action == "numbers":
        return {"response": [1] * len(answers) if is_batch else 1}
    if action == "short":
        return {"response": answers[:-1]}
    if action == "long":
        return {"response": [*answers, "one more", "and another"]}
    return {"response": answers if is_batch else answers[0]}


def _next(values: list[Value]) -> Value:
    """Take the next value; the last one stays."""
    return values.pop(0) if len(values) > 1 else values[0]


_HEALTH_BODIES: dict[str, tuple[int, bytes]] = {
    "ok": (200, b'{"status":"ok"}'),
    "batch": (200, b'{"status":"batch"}'),
    "503": (503, b'{"status":"warming"}'),
    "404": (404, b"not here"),
    "warming": (200, b'{"status":"warming"}'),
    "not json": (200, b"<html>"),
    "no status": (200, b"{}"),
}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of the program."""
    parser = argparse.ArgumentParser(prog="tests.fakes.service")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("ok", "batch"), default="batch")
    parser.add_argument("--warming", type=int, default=0, help="looks answered by 503 at first")
    parser.add_argument("--child", action="store_true", help="a process in a session of its own")
    parser.add_argument("--ignore-sigterm", action="store_true", help="the child ignores it too")
    parser.add_argument("--crash-on-predict", type=int, metavar="CODE")
    parser.add_argument("--delay-s", type=float, default=0.0)
    return parser.parse_args(argv)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    if not arguments.ignore_sigterm:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    def answer(prompt: str) -> str:
        if arguments.crash_on_predict is not None:
            print("crashed as told", flush=True)
            os._exit(arguments.crash_on_predict)
        return echo(prompt)

    warm: Health = arguments.mode
    health: list[Health] = [*["503"] * arguments.warming, warm]  # type: ignore[list-item]
    service = FakeService([Rule(delay_s=arguments.delay_s)], health, answer)
    service.reserve_port(arguments.port)
    await service.listen()
    print("serving", service.url, flush=True)
    await stopped.wait()
    await service.close()


if __name__ == "__main__":
    parsed = parse_arguments(sys.argv[1:])
    if parsed.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if parsed.child:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print("child", child.pid, flush=True)
    asyncio.run(serve(parsed))
