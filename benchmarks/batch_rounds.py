"""Owns how contestants take turns on a real engine, and what is kept of each turn."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from benchmarks.contestants.contestant import Ask, Reply, Unavailable

# vLLM's processes spin for a second after their last step: the next engine's turn is to be its own.
PAUSE_S = 1.5


@dataclass
class Measured:
    """What one contestant did; a reason when it could not."""

    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    # Of one batch, each round's: they should all be the same.
    tokens: list[int] = field(default_factory=list)
    reason: str = ""

    @property
    def chars(self) -> int:
        """What the evaluator counts of one batch."""
        return sum(map(len, self.answers))

    @property
    def chars_per_s(self) -> list[float]:
        """Characters per second of each round, as the evaluator counts them."""
        return [self.chars / seconds for seconds in self.seconds]

    def document(self) -> dict[str, object]:
        """Return it for a JSON file."""
        if self.reason:
            return {"reason": self.reason}
        return {"seconds": self.seconds, "characters": self.chars, "tokens": self.tokens}

    def ratios_to(self, other: Measured) -> list[float]:
        """Return each round's time as a multiple of the other's in that round."""
        if self.reason or other.reason:
            return []
        return [own / its for own, its in zip(self.seconds, other.seconds, strict=True)]


@dataclass(frozen=True)
class Load:
    """What every contestant is asked in a turn."""

    prompts: list[str]
    max_tokens: int
    rounds: int


async def take_turns(
    contestants: Mapping[str, Ask],
    load: Load,
    session: aiohttp.ClientSession,
    count_tokens: Callable[[], Awaitable[int]],
    pause_s: float = PAUSE_S,
) -> dict[str, Measured]:
    """Ask each contestant once a round, after one round that does not count.

    Which one begins moves on by one each round, so that no place in the row is an advantage.
    `count_tokens` tells how many tokens the engine behind HTTP has made so far.
    """
    results = {name: Measured() for name in contestants}
    names = list(contestants)
    for number in range(load.rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if not results[name].reason:
                await asyncio.sleep(pause_s)
                turn = _Turn(contestants[name], load, session, count_tokens)
                await turn.run(results[name], is_counted=number > 0)
        _tell(f"× {load.max_tokens} tokens: round {number} of {load.rounds}", results)
    return results


@dataclass(frozen=True)
class _Turn:
    ask: Ask
    load: Load
    session: aiohttp.ClientSession
    count_tokens: Callable[[], Awaitable[int]]

    async def run(self, into: Measured, *, is_counted: bool) -> None:
        try:
            before = await self.count_tokens()
            start = time.perf_counter()
            reply = await self.ask(self.session, self.load.prompts, self.load.max_tokens)
            seconds = time.perf_counter() - start
            served = await self.count_tokens() - before
        except (Unavailable, aiohttp.ClientError) as exc:
            into.reason = str(exc) or type(exc).__name__
            return
        if is_counted:
            _keep(into, reply, seconds, served)


def _keep(into: Measured, reply: Reply, seconds: float, served_tokens: int) -> None:
    into.seconds.append(seconds if reply.seconds is None else reply.seconds)
    into.tokens.append(served_tokens if reply.tokens is None else reply.tokens)
    into.answers = reply.answers


def _tell(where: str, results: Mapping[str, Measured]) -> None:
    last = [f"{name} {one.seconds[-1]:.2f} s" for name, one in results.items() if one.seconds]
    print(f"{where}: {', '.join(last) or 'warm'}", file=sys.stderr, flush=True)


def spread(values: list[float], form: str = ".2f") -> str:
    """Return a median with the least and the most, "–" when nothing was measured."""
    if not values:
        return "–"
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def table(results: Mapping[str, Measured], references: tuple[str, ...]) -> str:
    """Return what was measured as a Markdown table; who could not be measured says why below it."""
    present = [name for name in references if name in results]
    heads = ["contestant", "s", "characters/s", "tokens", "same answers"]
    heads += [f"÷ {name}" for name in present]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    model = next((one.answers for one in results.values() if one.answers), [])
    for name, one in results.items():
        same = sum(own == other for own, other in zip(one.answers, model, strict=False))
        cells = [name, spread(one.seconds), spread(one.chars_per_s, ".0f")]
        cells += ["not measured", "–"] if one.reason else [_counts(one.tokens), str(same)]
        cells += [spread(one.ratios_to(results[other])) for other in present]
        lines.append(" | ".join(cells))
    reasons = [f"{name}: {one.reason}" for name, one in results.items() if one.reason]
    return "\n".join([*(f"| {line} |" for line in lines), *reasons])


def _counts(tokens: list[int]) -> str:
    low, high = min(tokens), max(tokens)
    return str(low) if low == high else f"{low}–{high}"
