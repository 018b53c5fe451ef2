"""Compares a batch whose answers are taken as they are written with one whose answers come whole.

Needs a running engine (`scripts/serve`; set STREAM_INTERVAL before it to compare intervals). Two
gateways on that engine, one with STREAM_ANSWERS=1 and one with 0, get the same batch in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import aiohttp
import psutil

from benchmarks.rounds import pocket_questions, run_rounds, show
from tests.ports import free_port


async def main() -> None:
    """Run the rounds and print the table."""
    args = _arguments()
    prompts = pocket_questions(args.prompts)
    with ExitStack() as gateways:
        started = {
            "as written": gateways.enter_context(_gateway(args.engine_port, "1")),
            "whole": gateways.enter_context(_gateway(args.engine_port, "0")),
        }
        async with aiohttp.ClientSession() as session:
            contestants: dict[str, Callable[[], Awaitable[list[str]]]] = {
                name: partial(_predict, session, port, prompts, args.max_new_tokens)
                for name, (port, _) in started.items()
            }
            for ask in contestants.values():  # their start and warm-up are not to be counted
                await ask()
            before = {name: sum(process.cpu_times()[:2]) for name, (_, process) in started.items()}
            seconds = await run_rounds(contestants, args.rounds)
        print(f"{args.prompts} prompts × {args.max_new_tokens} tokens, {args.rounds} rounds")
        show(seconds)
        for name, (_, process) in started.items():
            cpu_s = sum(process.cpu_times()[:2]) - before[name]
            asked = args.prompts * (args.rounds + 1)
            print(f"{name:14} gateway CPU per prompt {cpu_s / asked * 1e6:.0f} µs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--prompts", type=int, default=358)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine-port", type=int, default=8001)
    return parser.parse_args()


@contextmanager
def _gateway(engine_port: int, stream_answers: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run a gateway on a free port until the block ends."""
    port = free_port()
    own = {"ENGINE_PORT": str(engine_port), "GATEWAY_PORT": str(port), "LOG_LEVEL": "error"}
    own["PROMPTS_PER_CALL"] = "1"  # what shares a call is never streamed
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        env={**os.environ, **own, "STREAM_ANSWERS": stream_answers},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def _predict(
    session: aiohttp.ClientSession, port: int, prompts: list[str], max_new_tokens: int
) -> list[str]:
    body = {"prompt": prompts, "max_new_tokens": max_new_tokens}
    for _ in range(100):
        try:
            async with session.post(f"http://127.0.0.1:{port}/predict", json=body) as response:
                answers: list[str] = (await response.json())["response"]
                return answers
        except aiohttp.ClientConnectorError:  # it is still starting
            await asyncio.sleep(0.1)
    raise SystemExit("the gateway does not start")


if __name__ == "__main__":
    asyncio.run(main())
