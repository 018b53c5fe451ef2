"""A program: the plain aiohttp loop that many write, straight to the engine.

Each line on standard input is a number of prompts; for each it asks for so many completions and
writes the seconds that this took. It is measured as the gateways are, from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import aiohttp

from benchmarks.contestants.contestant import CONCURRENCY, completions_at
from benchmarks.null_answers import ANSWER
from benchmarks.rounds import pocket_questions

MAX_NEW_TOKENS = 32


async def main() -> None:
    """Answer lines until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine_url")
    ask = completions_at(parser.parse_args().engine_url)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:
        # Nothing else happens meanwhile: standard input may block the loop.
        for line in sys.stdin:
            prompts = pocket_questions(int(line))
            start = time.perf_counter()
            reply = await ask(session, prompts, MAX_NEW_TOKENS)
            seconds = time.perf_counter() - start
            if reply.answers != [ANSWER] * len(prompts):
                raise SystemExit("the engine's answers are not what they should be")
            print(seconds, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
