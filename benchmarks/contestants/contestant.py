"""Owns what every contestant is: something that answers a list of prompts, or tells why not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

MODEL = "evalgate"
# As wide as the gateway asks when it is not told otherwise.
CONCURRENCY = 256


class Unavailable(Exception):
    """The contestant cannot be installed, started or asked here; the message says why."""


@dataclass(frozen=True)
class Reply:
    """One batch's answers, in the order of the prompts.

    `seconds` and `tokens` are what the contestant knows itself; None: they are taken from outside.
    """

    answers: list[str]
    seconds: float | None = None
    tokens: int | None = None


# Prompts and the number of tokens per answer.
Ask = Callable[[aiohttp.ClientSession, list[str], int], Awaitable[Reply]]


def completion_request(prompt: str, max_tokens: int) -> dict[str, object]:
    """Return the body of one greedy chat completion."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def completions_at(base_url: str) -> Ask:
    """Return how to ask an OpenAI-compatible server: one call per prompt, CONCURRENCY at once."""
    url = f"{base_url}/v1/chat/completions"

    async def ask(session: aiohttp.ClientSession, prompts: list[str], max_tokens: int) -> Reply:
        async def one(prompt: str) -> str:
            async with session.post(url, json=completion_request(prompt, max_tokens)) as response:
                if response.status != 200:
                    raise Unavailable(f"{url}: {response.status}: {await response.text():.300}")
                answer = (await response.json())["choices"][0]["message"]["content"]
                return str(answer).strip()

        return Reply(list(await asyncio.gather(*map(one, prompts))))

    return ask


def predict_at(base_url: str) -> Ask:
    """Return how to ask a `/predict` route: all prompts in one POST, as the evaluator does."""
    url = f"{base_url}/predict"

    async def ask(session: aiohttp.ClientSession, prompts: list[str], max_tokens: int) -> Reply:
        body = {"prompt": prompts, "max_new_tokens": max_tokens}
        async with session.post(url, json=body) as response:
            if response.status != 200:
                raise Unavailable(f"{url}: {response.status}: {await response.text():.300}")
            reply = await response.json()
        return Reply([answer.strip() for answer in reply["response"]], tokens=reply.get("tokens"))

    return ask
