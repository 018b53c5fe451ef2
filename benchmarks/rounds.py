"""Owns how contestants are compared: they take turns, and what counts is the ratio in a round.

So a machine whose speed drifts slows all of them down.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from pathlib import Path

QUESTIONS = Path(__file__).parents[1] / "launcher" / "pocket.jsonl"


def pocket_questions(count: int) -> list[str]:
    """Return `count` questions that the pocket model has learnt, again from the start if short."""
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return list(islice(cycle(json.loads(line)["question"] for line in lines), count))


async def run_rounds(
    contestants: dict[str, Callable[[], Awaitable[list[str]]]], rounds: int
) -> dict[str, list[float]]:
    """Time every contestant once a round, after one round that does not count; in seconds."""
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


def show(seconds: dict[str, list[float]]) -> None:
    """Print each contestant's median and spread, and its ratio to the last one."""
    reference = list(seconds.values())[-1]
    for name, times in seconds.items():
        ratios = [own / other for own, other in zip(times, reference, strict=True)]
        print(
            f"{name:14} median {statistics.median(times):6.2f} s"
            f" ({min(times):.2f} to {max(times):.2f}),"
            f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
