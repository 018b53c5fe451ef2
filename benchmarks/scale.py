"""Measures whether the gateway's cost grows in proportion: prompts per batch, batches at once.

The engine is the null engine of `fanout`. Every point has a gateway of its own, so that its memory
tells of that point alone; the points take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks import plot
from benchmarks.fanout_contestants import Contestant, posts
from benchmarks.fanout_gateway import gateway
from benchmarks.fanout_rounds import Result, take_turns
from benchmarks.null_engine import null_engine
from benchmarks.scale_fit import Point, as_point, document, table, verdict
from launcher.virtualenv import exit_code_of

REPOSITORY = Path(__file__).parents[1]
SIZES = [1, 3, 10, 32, 100, 358, 1_000, 3_000, 10_000]
WIDTHS = [1, 2, 4, 8, 16, 32, 64]
# What the evaluator's bonus set holds: the batch size at which batches come at once.
USUAL = 358
# Processor time is told in steps of 10 ms: small batches are repeated up to so many prompts a turn.
_TURN = 2_000


def main() -> None:
    """Start a gateway for each point, run the rounds, print the tables."""
    args = _arguments()
    pairs = [(size, 1) for size in args.sizes] + [(USUAL, width) for width in args.widths]
    results = _measure(dict.fromkeys(pairs), args.rounds)
    sizes = [as_point(size, size, results[_name(size, 1)]) for size in args.sizes]
    widths = [as_point(width, width * USUAL, results[_name(USUAL, width)]) for width in args.widths]
    print(f"\nnull engine, 32 tokens a prompt, {args.rounds} rounds\n")
    print(table("prompts per batch", sizes), verdict(sizes, USUAL), sep="\n\n")
    print()
    print(table(f"batches of {USUAL} at once", widths), verdict(widths, USUAL), sep="\n\n")
    _write(args, sizes, widths)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=_holding(USUAL), default=SIZES)
    parser.add_argument("--widths", type=_holding(1), default=WIDTHS)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "run" / "bench")
    return parser.parse_args()


def _holding(base: int) -> Callable[[str], list[int]]:
    """Return how to read numbers among which the one is that the others are compared with."""
    return lambda text: sorted({base, *map(int, text.split(","))})


def _measure(pairs: Iterable[tuple[int, int]], rounds: int) -> dict[str, Result]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evalgate-bench-")))
        engine = stack.enter_context(null_engine())
        contestants: dict[str, Contestant] = {}
        for size, width in pairs:
            name = _name(size, width)
            print(f"starting the gateway for {name}", file=sys.stderr, flush=True)
            one = stack.enter_context(gateway(engine.stream_url, folder, name))
            times = max(1, _TURN // (size * width))
            contestants[name] = posts(one, None, size, times * width, width)
        return uvloop.run(take_turns(contestants, rounds))


def _name(size: int, width: int) -> str:
    return f"{width}×{size}"


def _write(args: argparse.Namespace, sizes: list[Point], widths: list[Point]) -> None:
    found = {"sizes": document(sizes), "widths": document(widths), "usual": USUAL}
    plot.write_json(args.output / "scale.json", {"rounds": args.rounds, **found})
    axes = {"sizes": ("prompts per batch", sizes), "widths": ("batches at once", widths)}
    for name, (label, points) in axes.items():
        plot.lines(
            args.output / f"scale-{name}-time.svg",
            "the gateway's time per prompt, null engine",
            label,
            "µs per prompt",
            {
                "on the clock": [(point.x, point.wall_us.median) for point in points],
                "processor": [(point.x, point.cpu_us.median) for point in points],
            },
            is_log_x=True,
            is_log_y=True,
        )
        plot.lines(
            args.output / f"scale-{name}-memory.svg",
            "the gateway's memory at its peak (RSS)",
            label,
            "MiB",
            {"peak": [(point.x, point.peak_mib) for point in points]},
            is_log_x=True,
        )


if __name__ == "__main__":
    # An end by a signal ends what was started, too.
    sys.exit(exit_code_of(main))
