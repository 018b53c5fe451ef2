"""What each action of a script does to one request, down to the socket.

Must not choose the action, keep the engine's state, or know routes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fakes import answers, script
from tests.fakes.exchange import (
    END_OF_STREAM,
    STREAM_HEAD,
    Exchange,
    at_work,
    never,
    plain_of,
    send_answer,
    send_refusal,
    stream_of,
)
from tests.fakes.wire import chunked


async def _answer(action: script.Answer, exchange: Exchange) -> None:
    send_answer(exchange)


async def _delay(action: script.Delay, exchange: Exchange) -> None:
    longest = action.s if action.to_s is None else action.to_s
    with at_work(exchange.stats):
        await asyncio.sleep(exchange.dice.uniform(action.s, longest))
    send_answer(exchange)


async def _stall(action: script.Stall, exchange: Exchange) -> None:
    await never()


async def _hold(action: script.Hold, exchange: Exchange) -> None:
    await exchange.gate.wait()
    send_answer(exchange)


async def _status(action: script.Status, exchange: Exchange) -> None:
    if action.style == "own":
        refusal = exchange.kind.refuse(action.code, action.message)
    else:
        refusal = answers.refuse(action.code, action.message, action.style)
    send_refusal(exchange, refusal, action.retry_after)


async def _context_length(action: script.ContextLength, exchange: Exchange) -> None:
    limit = action.max_model_len or exchange.max_model_len
    refusal = answers.context_refusal(exchange.body, action, limit)
    if refusal is None:
        send_answer(exchange)
    else:
        send_refusal(exchange, refusal)


def _send_part(exchange: Exchange, when: str) -> None:
    """Send nothing, the head, or the head and half of the body."""
    if exchange.is_stream:
        first, *rest = stream_of(exchange, exchange.completion)
        body = b"".join(rest)
    else:
        first, body = plain_of(exchange.whole_body(exchange.completion))
    if when == "after_headers":
        exchange.connection.send(first)
    elif when == "mid_body":
        exchange.connection.send(first + body[: len(body) // 2])


async def _reset(action: script.Reset, exchange: Exchange) -> None:
    _send_part(exchange, action.when)
    exchange.connection.reset()


async def _close(action: script.Close, exchange: Exchange) -> None:
    _send_part(exchange, action.when)
    exchange.connection.close()


async def _garbage(action: script.Garbage, exchange: Exchange) -> None:
    body = action.body.encode()
    if exchange.is_stream:
        event = chunked(b"data: " + body + b"\n\n")
        exchange.connection.send(STREAM_HEAD + event + END_OF_STREAM)
    else:
        exchange.connection.respond(200, body)


async def _empty_choices(action: script.EmptyChoices, exchange: Exchange) -> None:
    send_answer(exchange, has_choices=False)


async def _null_content(action: script.NullContent, exchange: Exchange) -> None:
    send_answer(exchange, dataclasses.replace(exchange.completion, content=None))


async def _reasoning(action: script.Reasoning, exchange: Exchange) -> None:
    content = exchange.completion.content if action.content is None else action.content
    extra: dict[str, str] = {action.field: action.thoughts}
    send_answer(exchange, answers.complete(exchange.body, content or "", extra))


async def _text(action: script.Text, exchange: Exchange) -> None:
    send_answer(exchange, answers.complete(exchange.body, action.content))


def _trickled_parts(unit: str, exchange: Exchange) -> list[bytes]:
    if exchange.is_stream:
        parts = [*stream_of(exchange, exchange.completion), END_OF_STREAM]
    else:
        parts = list(plain_of(exchange.whole_body(exchange.completion)))
    if unit == "chunk":
        return parts
    return [bytes([byte]) for part in parts for byte in part]


async def _trickle(action: script.Trickle, exchange: Exchange) -> None:
    with at_work(exchange.stats):
        for part in _trickled_parts(action.unit, exchange):
            exchange.connection.send(part)
            await asyncio.sleep(action.interval_s)


def _aborted(completion: answers.Completion, chunks: int) -> answers.Completion:
    content = "".join(answers.pieces(completion.content or "")[:chunks])
    return dataclasses.replace(completion, content=content, finish_reason="abort")


async def _half_stream(action: script.HalfStream, exchange: Exchange) -> None:
    connection = exchange.connection
    if action.then == "abort":
        send_answer(exchange, _aborted(exchange.completion, action.chunks))
        return
    if exchange.is_stream:
        # The head and the event with the role come before the text.
        connection.send(b"".join(stream_of(exchange, exchange.completion)[: 2 + action.chunks]))
    else:
        _send_part(exchange, "mid_body")
    if action.then == "stall":
        await never()
    elif action.then == "reset":
        connection.reset()
    elif action.then == "close" or not exchange.is_stream:
        connection.close()
    else:
        error = {"error": answers.error_fields(500, "scripted error")}
        tail = chunked(answers.event(error)) + chunked(answers.DONE)
        connection.send(tail + END_OF_STREAM)


async def _exit(action: script.Exit, exchange: Exchange) -> None:
    leave(action.code)


def leave(code: int) -> None:
    """End the process at once, without any clean-up."""
    sys.stdout.flush()
    os._exit(code)


_Performer = Callable[[Any, Exchange], Awaitable[None]]

_PERFORMERS: dict[type[script.Action], _Performer] = {
    script.Answer: _answer,
    script.Delay: _delay,
    script.Stall: _stall,
    script.Hold: _hold,
    script.Status: _status,
    script.ContextLength: _context_length,
    script.Reset: _reset,
    script.Close: _close,
    script.Garbage: _garbage,
    script.EmptyChoices: _empty_choices,
    script.NullContent: _null_content,
    script.Reasoning: _reasoning,
    script.Text: _text,
    script.Trickle: _trickle,
    script.HalfStream: _half_stream,
    script.Exit: _exit,
}


async def perform(rule: script.Rule, exchange: Exchange) -> None:
    """Do what the rule says; returns when the answer, or what there is of it, was sent."""
    if rule.after_s > 0:
        with at_work(exchange.stats):
            await asyncio.sleep(rule.after_s)
    await _PERFORMERS[type(rule.action)](rule.action, exchange)
