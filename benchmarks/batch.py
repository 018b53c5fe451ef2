"""Compares a batch through `/predict` with the same prompts sent by a plain aiohttp loop.

Needs a running service (`scripts/serve`). The contestants take turns, so that a machine whose speed
drifts slows down both: what counts is the ratio within a round.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import psutil

from benchmarks.rounds import pocket_questions, run_rounds, show

MODEL = "evalgate"


async def main() -> None:
    """Run the rounds and print the table."""
    args = _arguments()
    prompts = pocket_questions(args.prompts)
    gateway = _listener(args.gateway_port)
    before = gateway.memory_info().rss
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        contestants: dict[str, Callable[[], Awaitable[list[str]]]] = {
            "/predict": lambda: _predict(session, args, prompts),
            "aiohttp loop": lambda: _loop(session, args, prompts),
        }
        seconds = await run_rounds(contestants, args.rounds)
    print(f"{args.prompts} prompts × {args.max_new_tokens} tokens, {args.rounds} rounds")
    show(seconds)
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


if __name__ == "__main__":
    asyncio.run(main())
