"""One chat completion on its connection, and the whole answers that it can get.

Must not know rules or actions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.fakes import answers
from tests.fakes.answers import Completion, Refusal
from tests.fakes.kinds import KindOfEngine, generate_body
from tests.fakes.stats import Stats
from tests.fakes.wire import Connection, chunked, head

STREAM_HEAD = head(
    200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
)
END_OF_STREAM = chunked(b"")


@dataclass
class Exchange:
    """One chat completion on its connection."""

    body: dict[str, Any]
    connection: Connection
    max_model_len: int
    stats: Stats
    dice: random.Random
    gate: asyncio.Event
    kind: KindOfEngine

    @property
    def is_stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return bool(self.body.get("stream"))

    @property
    def completion(self) -> Completion:
        """The default answer."""
        return answers.default_completion(self.body)

    def whole_body(self, completion: Completion, *, has_choices: bool = True) -> bytes:
        """Return the body of an answer that is no stream."""
        return answers.body_of(completion, has_choices=has_choices)


@dataclass
class GenerateExchange(Exchange):
    """A call of Triton's generate extension; `body` is a chat with its whole text as the prompt."""

    @property
    def is_stream(self) -> bool:
        """Whether the client asked for server-sent events: another route has them."""
        return False

    def whole_body(self, completion: Completion, *, has_choices: bool = True) -> bytes:
        """Return the answer, behind the prompt as vLLM's backend puts it by default."""
        given = answers.last_user_message(self.body)
        return generate_body(completion.model, given, completion, has_echo=has_choices)


@dataclass
class GroupExchange(Exchange):
    """Several conversations in one call; `body` is that of the one that a rule is about."""

    bodies: Sequence[dict[str, Any]]
    index: int

    def whole_body(self, completion: Completion, *, has_choices: bool = True) -> bytes:
        """Return the body with all answers, `completion` in the place of the one in question."""
        found = [answers.default_completion(body) for body in self.bodies]
        found[self.index] = completion
        return answers.group_body_of(found if has_choices else [])


def stream_of(
    exchange: Exchange, completion: Completion, *, has_choices: bool = True
) -> list[bytes]:
    """Return a stream's parts as they go over the wire, without the end of the stream."""
    has_usage = answers.wants_usage(exchange.body)
    events = answers.events_of(
        completion,
        has_usage=has_usage,
        has_choices=has_choices,
        ends_with_usage=exchange.kind.ends_with_usage,
    )
    return [STREAM_HEAD, *map(chunked, events)]


def plain_of(body: bytes) -> tuple[bytes, bytes]:
    """Return head and body of a whole plain answer."""
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    return head(200, fields), body


def send_answer(
    exchange: Exchange, completion: Completion | None = None, *, has_choices: bool = True
) -> None:
    """Send a whole answer at once, as a stream where one was asked for."""
    completion = completion or exchange.completion
    exchange.stats.generate(completion.completion_tokens)
    if exchange.is_stream:
        parts = stream_of(exchange, completion, has_choices=has_choices)
        exchange.connection.send(b"".join([*parts, END_OF_STREAM]))
    else:
        body = exchange.whole_body(completion, has_choices=has_choices)
        exchange.connection.send(b"".join(plain_of(body)))


def send_refusal(exchange: Exchange, refusal: Refusal, retry_after: str | None = None) -> None:
    """Send an error answer."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    connection = exchange.connection
    connection.respond(refusal.status, refusal.body, refusal.content_type, headers)


@contextmanager
def at_work(stats: Stats) -> Iterator[None]:
    """Count the request as one that the engine makes progress with."""
    stats.working += 1
    try:
        yield
    finally:
        stats.working -= 1


async def never() -> None:
    """Wait until the client goes away."""
    await asyncio.get_running_loop().create_future()
