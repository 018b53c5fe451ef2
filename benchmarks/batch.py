"""Compares a batch through `/predict` with the same prompts sent by a plain aiohttp loop.

Needs a running service (`scripts/serve`). The contestants take turns, so that a machine whose speed
drifts slows down both: what counts is the ratio within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from pathlib import Path

import aiohttp
import psutil

QUESTIONS = Path(__file__).parents[1] / "launcher" / "pocket.jsonl"
MODEL = "evalgate"


async def main() -> None:
    """Run the rounds and print the table."""
    args = _arguments()
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    prompts = list(islice(cycle(questions), args.prompts))
    gateway = _listener(args.gateway_port)
    before = gateway.memory_info().rss
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        contestants: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "/predict": lambda: _predict(session, args, prompts),
            "aiohttp loop": lambda: _loop(session, args, prompts),
        }
        seconds = await _rounds(contestants, args.rounds)
    _show(seconds, args)
    after = gateway.memory_info().rss
    print(f"gateway memory: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--prompts", type=int, default=358)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gateway-port", type=int, default=8000)
    parser.add_argument("--engine-port", type=int, default=8001)
    return parser.parse_args()


async def _rounds(
    contestants: dict[str, Callable[[], Awaitable[list[str]]]], rounds: int
) -> dict[str, list[float]]:
    """Time every contestant once a round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        answers = []
        for name, run in contestants.items():
            start = time.perf_counter()
            answers.append(await run())
            if number:
                seconds[name].append(time.perf_counter() - start)
        if any(other != answers[0] for other in answers):
            raise SystemExit("the contestants' answers differ: nothing is compared")
    return seconds


async def _predict(
    session: aiohttp.ClientSession, args: argparse.Namespace, prompts: list[str]
) -> list[str]:
    url = f"http://127.0.0.1:{args.gateway_port}/predict"
    body = {"prompt": prompts, "max_new_tokens": args.max_new_tokens}
    async with session.post(url, json=body) as response:
        answers: list[str] = (await response.json())["response"]
        return answers


async def _loop(
    session: aiohttp.ClientSession, args: argparse.Namespace, prompts: list[str]
) -> list[str]:
    url = f"http://127.0.0.1:{args.engine_port}/v1/chat/completions"

    async def ask(prompt: str) -> str:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": args.max_new_tokens,
            "temperature": 0,
        }
        async with session.post(url, json=body) as response:
            return str((await response.json())["choices"][0]["message"]["content"]).strip()

    return list(await asyncio.gather(*map(ask, prompts)))


def _listener(port: int) -> psutil.Process:
    for connection in psutil.net_connections("inet"):
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens on port {port}: run scripts/serve first")


def _show(seconds: dict[str, list[float]], args: argparse.Namespace) -> None:
    reference = list(seconds.values())[-1]
    print(f"{args.prompts} prompts × {args.max_new_tokens} tokens, {args.rounds} rounds")
    for name, times in seconds.items():
        ratios = [own / other for own, other in zip(times, reference, strict=True)]
        print(
            f"{name:14} median {statistics.median(times):6.2f} s"
            f" ({min(times):.2f} to {max(times):.2f}),"
            f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    asyncio.run(main())
