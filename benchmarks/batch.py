"""Compares a batch through `/predict` with the same engine in process, and with other ways to it.

Starts everything that it compares, on a copy of the pocket model that never ends an answer by
itself, so that all contestants make the same number of tokens. They take turns: on a machine whose
speed drifts, what counts is the ratio within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil

from benchmarks import plot
from benchmarks.batch_rounds import PAUSE_S, Load, Measured, table, take_turns
from benchmarks.contestants.contestant import CONCURRENCY
from benchmarks.contestants.lineup import NAMES, Lineup, lineup
from benchmarks.contestants.program import end_on_sigterm
from benchmarks.rounds import pocket_questions

REPOSITORY = Path(__file__).parents[1]
# What the ratios are to: the engine without HTTP, and the plainest way to it with.
REFERENCES = ("chat", "aiohttp")
REST_S = 4.0
_GENERATED = re.compile(r"^vllm:generation_tokens_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def main() -> None:
    """Start the contestants, run the rounds, print the tables."""
    args = _arguments()
    end_on_sigterm()
    subprocess.run([REPOSITORY / "scripts" / "prepare"], check=True)
    prompts = pocket_questions(args.prompts)
    with (
        tempfile.TemporaryDirectory(prefix="evalgate-bench-") as folder,
        lineup(args.only, Path(folder)) as contestants,
    ):
        rest = share_at_rest()
        results = {
            tokens: asyncio.run(_compare(contestants, Load(prompts, tokens, args.rounds)))
            for tokens in args.tokens
        }
    for tokens, measured in results.items():
        print(f"\n{args.prompts} prompts × {tokens} tokens, {args.rounds} rounds\n")
        print(table(_in_order(measured, args.only), REFERENCES))
    print(f"\nall contestants at rest: {rest:.1%} of a core")
    _write(args, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench batch", description=__doc__)
    parser.add_argument("--prompts", type=int, default=358)
    parser.add_argument("--tokens", type=_numbers, default=[32, 128], help="per answer: 32,128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=_names, default=list(NAMES), help=",".join(NAMES))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "run" / "bench")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {', '.join(NAMES)}")
    return names


async def _compare(contestants: Lineup, load: Load) -> dict[str, Measured]:
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def count_tokens() -> int:
            if not contestants.engine_url:
                return 0
            async with session.get(f"{contestants.engine_url}/metrics") as response:
                return generated_tokens(await response.text())

        measured = await take_turns(contestants.asks, load, session, count_tokens)
    missing = {name: Measured(reason=why) for name, why in contestants.missing.items()}
    return {**measured, **missing}


def share_at_rest(period_s: float = REST_S) -> float:
    """Return the processor time of everything started from here, as a share of one core."""
    time.sleep(PAUSE_S)
    before = _cpu_s()
    time.sleep(period_s)
    return (_cpu_s() - before) / period_s


def _cpu_s() -> float:
    used = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            used += sum(process.cpu_times()[:2])
    return used


def generated_tokens(metrics: str) -> int:
    """Return how many tokens a page of vLLM's metrics says that it has made."""
    return round(sum(float(value) for value in _GENERATED.findall(metrics)))


def _in_order(measured: dict[str, Measured], names: list[str]) -> dict[str, Measured]:
    return {name: measured[name] for name in names if name in measured}


def _write(args: argparse.Namespace, results: dict[int, dict[str, Measured]]) -> None:
    document = {
        "prompts": args.prompts,
        "rounds": args.rounds,
        "tokens": {
            tokens: {name: one.document() for name, one in measured.items()}
            for tokens, measured in results.items()
        },
    }
    plot.write_json(args.output / "batch.json", document)
    for tokens, measured in results.items():
        title = f"{args.prompts} prompts × {tokens} tokens, characters per second"
        values = {name: _bar(one) for name, one in _in_order(measured, args.only).items()}
        plot.bars(args.output / f"batch-{tokens}.svg", title, "characters/s", values)


def _bar(one: Measured) -> plot.Spread | None:
    speeds = one.chars_per_s
    if not speeds:
        return None
    return plot.Spread(statistics.median(speeds), min(speeds), max(speeds))


if __name__ == "__main__":
    main()
