"""Owns how the contestants of `fanout` take turns, what is kept of each turn, and the table."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from benchmarks import plot
from benchmarks.batch_rounds import spread
from benchmarks.contestants.contestant import Unavailable
from benchmarks.fanout_contestants import LOOP, Contestant
from benchmarks.fanout_load import LoadError
from benchmarks.fanout_measure import Turn, measured, percentile


@dataclass
class Result:
    """What one contestant cost, turn by turn; a reason when it could not be measured."""

    turns: list[Turn] = field(default_factory=list)
    root_s: list[float] = field(default_factory=list)
    """Seconds of each `GET /` meanwhile, all rounds."""
    reason: str = ""
    prompts_per_call: int = 1

    def figures(self, name: str) -> list[float]:
        """Return one figure of every turn."""
        return [getattr(turn, name) for turn in self.turns]


async def take_turns(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Result]:
    """Measure each contestant once a round, after one round that does not count.

    Which one begins moves on by one each round, so that no place in the row is an advantage.
    """
    results = {
        name: Result(prompts_per_call=contestant.prompts_per_call)
        for name, contestant in contestants.items()
    }
    names = list(contestants)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if not results[name].reason:
                await _take_turn(contestants[name], results[name], is_counted=number > 0)
        _tell(f"round {number} of {rounds}", results)
    for contestant in contestants.values():
        if contestant.load is not None:
            contestant.load.close()
    return results


async def _take_turn(contestant: Contestant, into: Result, *, is_counted: bool) -> None:
    try:
        if contestant.load is not None:
            await contestant.load.connect()
        turn = await measured(contestant.process, contestant.num_prompts, contestant.run)
        root_s = await _probe(contestant) if is_counted else []
    except (LoadError, Unavailable, OSError) as exc:
        into.reason = str(exc) or type(exc).__name__
        return
    if is_counted:
        into.turns.append(turn)
        into.root_s += root_s


async def _probe(contestant: Contestant) -> list[float]:
    """Return how long each `GET /` took during one more turn."""
    if contestant.prober is None:
        return []
    contestant.prober.start()
    try:
        await contestant.run()
    finally:
        seconds = contestant.prober.stop()
    return seconds


def _tell(where: str, results: Mapping[str, Result]) -> None:
    last = [f"{name} {one.turns[-1].cpu_us:.0f} µs" for name, one in results.items() if one.turns]
    print(f"{where}: {', '.join(last) or 'warm'}", file=sys.stderr, flush=True)


def table(results: Mapping[str, Result]) -> str:
    """Return a Markdown table; who could not be measured says why below it."""
    heads = ["contestant", "prompts per call", "CPU µs", f"÷ {LOOP}", "wall µs", "peak MiB"]
    heads += ["GET / p50 ms", "p99 ms", "of"]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    reference = results.get(LOOP, Result()).figures("cpu_us")
    lines += [" | ".join(_row(name, one, reference)) for name, one in results.items()]
    reasons = [f"{name}: {one.reason}" for name, one in results.items() if one.reason]
    return "\n".join([*(f"| {line} |" for line in lines), *reasons])


def _row(name: str, one: Result, reference: list[float]) -> list[str]:
    if one.reason:
        return [name, "not measured", *["–"] * 7]
    cpu_us = one.figures("cpu_us")
    ratios = [own / other for own, other in zip(cpu_us, reference, strict=False)]
    return [
        name,
        str(one.prompts_per_call),
        spread(cpu_us, ".0f"),
        spread(ratios),
        spread(one.figures("wall_us"), ".0f"),
        f"{max(one.figures('peak_mib')):.0f}",
        *_latency(one.root_s),
    ]


def _latency(seconds: list[float]) -> list[str]:
    if not seconds:
        return ["–", "–", "–"]
    p50, p99 = (percentile(seconds, share) * 1000 for share in (0.5, 0.99))
    return [f"{p50:.1f}", f"{p99:.1f}", str(len(seconds))]


def document(results: Mapping[str, Result]) -> dict[str, object]:
    """Return the results for a JSON file."""
    return {name: _figures(one) for name, one in results.items()}


def _figures(one: Result) -> dict[str, object]:
    if one.reason:
        return {"reason": one.reason}
    found: dict[str, object] = {"prompts_per_call": one.prompts_per_call}
    found["turns"] = [asdict(turn) for turn in one.turns]
    if one.root_s:
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        latency = {name: percentile(one.root_s, share) for name, share in shares.items()}
        found["get_root_s"] = {**latency, "count": len(one.root_s)}
    return found


def bar(one: Result, figure: str) -> plot.Spread | None:
    """Return one figure for a plot; None when it was not measured."""
    values = one.figures(figure)
    if not values:
        return None
    return plot.Spread(statistics.median(values), min(values), max(values))
