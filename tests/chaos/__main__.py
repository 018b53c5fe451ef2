"""`python -m tests.chaos`: runs the fault matrix, shows the table, fails when something was lost.

Exit code 0: nothing lost; 1: something was, or a row could not be run; 130: interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from tests.chaos import report
from tests.chaos.interrupt import INTERRUPTED, interruptible
from tests.chaos.matrix import ROWS, UnknownRow, choose
from tests.chaos.result import Result
from tests.chaos.row import Row
from tests.chaos.runner import DEFAULT_RUNS, run_rows

_NAMES = [row.name for row in ROWS]


def main(arguments: Sequence[str]) -> int:
    """Run the chosen rows; return the exit code."""
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    if options.list:
        for row in ROWS:
            console.print(f"{row.name:22} {row.engine:5} {'quick' * row.is_quick:6} {row.fault}")
        return 0
    results: list[Result] = list(options.earlier)
    if results:
        console.print(f"{len(results)} rows are taken from {options.resume}")
    try:
        # Closing it ends the real stack, wherever the interrupt came.
        with interruptible(), closing(_results(options, console)) as found:
            for result in found:
                results.append(result)
                results.sort(key=lambda one: _NAMES.index(one.name))
                console.print(_line(result), style=None if result.is_good else "bold red")
                _write(options, results)
    except KeyboardInterrupt:
        console.print("interrupted")
    console.print(report.table(results))
    if len(results) < len(options.rows) + len(options.earlier):
        return INTERRUPTED
    return 0 if all(result.is_good for result in results) else 1


def _results(options: argparse.Namespace, console: Console) -> Generator[Result, None, None]:
    def show(row: Row, number: int, count: int) -> None:
        place = f"{options.rows.index(row) + 1}/{len(options.rows)}"
        run = f", run {number} of {count}" if count > 1 else ""
        console.print(f"[{place}] {row.name} ({row.engine}){run}", style="dim", markup=False)

    return run_rows(options.rows, num_runs=options.runs, on_run=show)


def _line(result: Result) -> str:
    verdict = "good" if result.is_good else "FAILED"
    told = [f"{result.seconds:.1f} s", result.recovery and f"recovery {result.recovery} s"]
    return f"  {verdict}: {', '.join(part for part in [*told, result.note] if part)}"


def _write(options: argparse.Namespace, results: Sequence[Result]) -> None:
    """Write what there is so far: a run that is cut short leaves its results too."""
    if options.json is not None:
        options.json.write_text(report.to_json(results), encoding="utf-8")
    if options.markdown is not None:
        options.markdown.write_text(report.markdown(results), encoding="utf-8")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options, with the chosen rows as `rows`."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the rows, run nothing")
    parser.add_argument("--quick", action="store_true", help="the quick rows, once each")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="repeatable")
    parser.add_argument("--runs", type=int, help=f"of a process fault; default {DEFAULT_RUNS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep that file's good rows, run the others"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args(arguments)
    options.runs = options.runs or (1 if options.quick else DEFAULT_RUNS)
    try:
        chosen = choose(options.only, is_quick=options.quick)
        kept = [] if options.resume is None else report.good_results(options.resume)
    except (UnknownRow, report.NoReport) as exc:
        parser.error(str(exc))
    asked = {row.name: options.runs if row.is_repeated else 1 for row in chosen}
    options.earlier = [old for old in kept if len(old.runs) >= asked.get(old.name, math.inf)]
    done = {old.name for old in options.earlier}
    options.rows = [row for row in chosen if row.name not in done]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
