"""Owns `evaluator judge`: from its options to files, the terminal and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from evaluator import interrupts, questions, report, terminal
from evaluator.engine_tokens import TokenizerError, load_tokenizer
from evaluator.files import as_text, cannot_write, replace_file, report_files
from evaluator.interrupts import Interrupts
from evaluator.judge import Outcome, Plan, judge
from evaluator.leak import leak_check
from evaluator.progress import TerminalWatcher
from evaluator.questions import QuestionSetError
from evaluator.report import Question, Report
from evaluator.service import CannotRun
from evaluator.tracks import Limits, Track

FAILED = 1
"""Exit code: the submission fails, or a threshold is missed."""


@dataclass(frozen=True)
class Options:
    """What the user asked for; None and "" where nothing was said."""

    url: str
    questions: Path
    track: Track
    limits: Limits
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    start: str = ""
    build: str = ""
    leak_check: Path | None = None
    json: Path | None = None
    html: Path | None = None
    min_accuracy: float | None = None
    min_speed: float | None = None
    name: str = ""
    tokenizer: Path | None = None


def run(options: Options, console: Console) -> int:
    """Judge a service and return the exit code; raises CannotRun, CannotWrite."""
    json_file, html_file = report_files("judge", options.json, options.html)
    try:
        plan = make_plan(options, json_file)
    except (QuestionSetError, TokenizerError) as exc:
        raise CannotRun(str(exc)) from exc
    with TerminalWatcher(console) as watcher:
        outcome = anyio.run(judge, plan, watcher, Interrupts())
    if outcome.log is not None:
        terminal.show_log(outcome.log, console)
    terminal.show(outcome.report, console)
    with cannot_write(json_file):
        report.write(outcome.report, json_file)
    with cannot_write(html_file):
        replace_file(html_file, render(outcome.report).encode())
    console.print(Text(f"report: {html_file}\nrecords: {json_file}"), soft_wrap=True)
    return exit_code(options, outcome, console)


def make_plan(options: Options, json_file: Path) -> Plan:
    """Read what the options name; everything that can be wrong with it is found before the run."""
    chosen = questions.load(options.questions, options.limit, options.sample, options.seed)
    return Plan(
        url=options.url,
        name=as_text(options.name or json_file.stem),
        track=options.track.value,
        limits=options.limits,
        questions=chosen,
        question_set=describe_set(options),
        logs=json_file.with_name(json_file.stem),
        build=options.build,
        start=options.start,
        tokenizer=None if options.tokenizer is None else load_tokenizer(options.tokenizer),
        warnings=find_leaks(chosen, options.leak_check),
    )


def describe_set(options: Options) -> str:
    """Name the question set and the part of it that is asked."""
    parts = [as_text(options.questions)]
    if options.limit is not None:
        parts.append(f"first {options.limit}")
    if options.sample is not None:
        parts.append(f"sample of {options.sample}, seed {options.seed}")
    return ", ".join(parts)


def find_leaks(chosen: list[Question], training: Path | None) -> tuple[str, ...]:
    """Say how many of the questions a training file gives away."""
    if training is None:
        return ()
    leaks = leak_check(chosen, questions.load(training, needs_reference=False))
    if not leaks.leaked:
        return ()
    return (
        f"leak: of {leaks.questions} questions {len(leaks.exact)} stand word for word in "
        f"{as_text(training)}, {len(leaks.near)} nearly: a score on seen questions says nothing",
    )


def render(outcome: Report) -> str:
    """Return the HTML page; its parts are loaded when the run is over, to start soon."""
    from evaluator import html

    return html.render(outcome)


def exit_code(options: Options, outcome: Outcome, console: Console) -> int:
    """Return the exit code, saying which threshold was missed."""
    if outcome.is_interrupted:
        return interrupts.EXIT_CODE
    if outcome.report.problems:
        return FAILED
    missed = find_missed(options, outcome.report)
    for line in missed:
        console.print(Text(line, style="bold red"))
    return FAILED if missed else 0


def find_missed(options: Options, judged: Report) -> list[str]:
    """Say which thresholds a valid run misses."""
    accuracy = 0.0 if judged.official is None else judged.official.mean
    speed = 0.0 if judged.speed is None else judged.speed.characters_per_s
    missed = []
    if options.min_accuracy is not None and accuracy < options.min_accuracy:
        missed.append(f"official accuracy {accuracy:.4f} is under {options.min_accuracy:g}")
    if options.min_speed is not None and speed < options.min_speed:
        missed.append(f"speed {speed:.1f} characters/s is under {options.min_speed:g}")
    return missed
