"""Measures a start by its phases, from supervisord to `GET /` 200: eager, compiled, with caches.

The engine's phases are read from its own log as it is written, as the guardian reads them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from benchmarks import plot
from benchmarks.batch_rounds import spread
from benchmarks.contestants.program import end_on_sigterm
from benchmarks.start_timeline import OURS, measure
from launcher.interpreter import find_engine_python
from launcher.settings import load_settings
from tests.e2e.stack import running_stack

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Variant:
    """A way to start: its settings, and whether it finds the caches of the start before it."""

    name: str
    environ: Mapping[str, str]
    keeps_caches: bool = False


VARIANTS = (
    Variant("eager", {"VLLM_ENFORCE_EAGER": "1"}),
    Variant("compiled, no cache", {"VLLM_ENFORCE_EAGER": "0"}),
    Variant("compiled, cached", {"VLLM_ENFORCE_EAGER": "0"}, keeps_caches=True),
)


@dataclass
class Starts:
    """The starts of one variant: seconds by phase, one entry each."""

    phases: list[dict[str, float]] = field(default_factory=list)

    def of(self, phase: str) -> list[float]:
        """Return that phase's seconds; a start that did not have it spent none on it."""
        return [start.get(phase, 0.0) for start in self.phases]

    @property
    def totals(self) -> list[float]:
        """From supervisord to 200."""
        return [sum(start.values()) for start in self.phases]

    @property
    def own(self) -> list[float]:
        """What is neither the engine's start nor the warm-up wave."""
        return [sum(start.get(phase, 0.0) for phase in OURS) for start in self.phases]


def main() -> None:
    """Start each variant in turn, print the table."""
    args = _arguments()
    end_on_sigterm()
    subprocess.run([REPOSITORY / "scripts" / "prepare"], check=True)
    results: dict[str, Starts] = {variant.name: Starts() for variant in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="evalgate-bench-") as folder:
        for number in range(args.rounds):
            # A round's last two share its caches: the first of them fills what the second finds.
            caches = Path(folder, str(number))
            for variant in VARIANTS:
                own = caches / ("eager" if variant.name == "eager" else "compiled")
                results[variant.name].phases.append(_start(variant, own))
                _tell(number, variant, results[variant.name])
    interpreter_s = _interpreter_s()
    print(f"\n{args.rounds} starts each; seconds, median (least–most)\n")
    print(table(results))
    print(f"\nof `imports`, the bare interpreter: {interpreter_s:.2f} s")
    document = {name: starts.phases for name, starts in results.items()}
    plot.write_json(
        args.output / "start.json", {"interpreter_s": interpreter_s, "starts": document}
    )
    totals = {name: _bar(starts.totals) for name, starts in results.items()}
    plot.bars(args.output / "start.svg", "supervisord to GET / 200", "s", totals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "run" / "bench")
    return parser.parse_args()


def _start(variant: Variant, caches: Path) -> dict[str, float]:
    caches.mkdir(parents=True, exist_ok=True)
    own = {"TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"), "VLLM_CACHE_ROOT": str(caches)}
    with running_stack(EVALGATE_PYTHON="", **own, **variant.environ) as stack:
        return measure(stack)


def table(results: Mapping[str, Starts]) -> str:
    """Return the phases as a Markdown table, a column for each variant."""
    rows = [("phase", list(results)), ("---", ["---"] * len(results))]
    rows += [
        (name, [spread(starts.of(name)) for starts in results.values()]) for name in _names(results)
    ]
    rows.append(("**total**", [spread(starts.totals) for starts in results.values()]))
    rows.append(
        ("**ours**: without engine and wave", [spread(starts.own) for starts in results.values()])
    )
    return "\n".join(f"| {' | '.join([name, *cells])} |" for name, cells in rows)


def _names(results: Mapping[str, Starts]) -> list[str]:
    """Return all phases in the order of a start; a variant may lack some."""
    longest = max((start for starts in results.values() for start in starts.phases), key=len)
    others = (name for starts in results.values() for start in starts.phases for name in start)
    return list(dict.fromkeys([*longest, *others]))


def _interpreter_s() -> float:
    """Return what the engine's Python takes to do nothing."""
    python = anyio.run(find_engine_python, load_settings(os.environ).engine_python)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([python, "-c", ""], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _tell(number: int, variant: Variant, starts: Starts) -> None:
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in starts.phases[-1].items())
    total = f"{starts.totals[-1]:.1f} s"
    print(f"start {number + 1}, {variant.name}: {total}: {phases}", file=sys.stderr, flush=True)


def _bar(values: list[float]) -> plot.Spread:
    return plot.Spread(statistics.median(values), min(values), max(values))


if __name__ == "__main__":
    main()
