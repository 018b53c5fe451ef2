"""Measures the gateway's own cost, in front of an engine that costs nothing: an nginx.

What is counted is the processor time of each contestant's own process, from outside, around the
load only; the load generator and the nginx are other processes. The contestants take turns. The
latency of `GET /` is taken in turns of its own, so that asking for it is in nobody's cost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import fanout_contestants, fanout_profile, plot
from benchmarks.fanout_contestants import BATCHES, NAMES
from benchmarks.fanout_gateway import gateway
from benchmarks.fanout_rounds import Result, bar, document, table, take_turns
from benchmarks.null_engine import NullEngine, null_engine
from launcher.virtualenv import exit_code_of

REPOSITORY = Path(__file__).parents[1]
_PROFILED_POSTS = 15


def main() -> None:
    """Start everything, run the rounds or the profile, print."""
    args = _arguments()
    with (
        tempfile.TemporaryDirectory(prefix="evalgate-bench-") as folder,
        null_engine() as engine,
    ):
        if args.profile:
            _profile(engine, Path(folder), args.output)
        else:
            _compare(args, engine, Path(folder))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench fanout", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=_names, default=list(NAMES), help=",".join(NAMES))
    parser.add_argument("--profile", action="store_true", help="where one gateway's time goes")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "run" / "bench")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {', '.join(NAMES)}")
    return names


def _compare(args: argparse.Namespace, engine: NullEngine, folder: Path) -> None:
    with fanout_contestants.started(args.only, engine, folder) as found:
        results = uvloop.run(take_turns(found.contestants, args.rounds))
    results |= {name: Result(reason=why) for name, why in found.missing.items()}
    results = {name: results[name] for name in NAMES if name in results}
    print(f"\nper prompt of 32 tokens, null engine, {args.rounds} rounds\n")
    print(table(results))
    plot.write_json(
        args.output / "fanout.json", {"rounds": args.rounds, "contestants": document(results)}
    )
    for figure, label in (("cpu_us", "µs of processor time"), ("wall_us", "µs on the clock")):
        values = {name: bar(result, figure) for name, result in results.items()}
        path = args.output / f"fanout-{figure.removesuffix('_us')}.svg"
        plot.bars(path, f"{label} per prompt, null engine", label, values)


def _profile(engine: NullEngine, folder: Path, output: Path) -> None:
    """Sample one gateway while it answers batches of 10,000, and print the largest costs."""
    output.mkdir(parents=True, exist_ok=True)
    stacks = output / "fanout-profile.txt"
    with gateway(engine.stream_url, folder, "profiled") as one:
        contestant = fanout_contestants.posts(one, None, max(BATCHES), 1)
        uvloop.run(take_turns({"predict": contestant}, 1))  # warm
        with fanout_profile.recorded(one.process.pid, stacks):
            results = uvloop.run(take_turns({"predict": contestant}, _PROFILED_POSTS))
    print(f"\n{table(results)}\n(slower than without the profiler)\n")
    print(fanout_profile.report(stacks.read_text(encoding="utf-8")))
    print(f"stacks, for a flame graph: {stacks}", file=sys.stderr)


if __name__ == "__main__":
    # An end by a signal ends what was started, too.
    sys.exit(exit_code_of(main))
