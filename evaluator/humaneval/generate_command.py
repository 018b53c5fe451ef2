"""Owns `evaluator humaneval generate`: side file, progress bar, the finished file, exit code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import anyio
import msgspec
from rich.console import Console
from rich.text import Text

from evaluator import interrupts
from evaluator.answer_journal import Answered, Journal
from evaluator.chat import AskFailed, Engine, Gateway, Sampling
from evaluator.counting import counting
from evaluator.files import check_writable
from evaluator.humaneval import problems as problem_set
from evaluator.humaneval import samples as sample_file
from evaluator.humaneval.extraction import extract
from evaluator.humaneval.generating import Lost, Patience, ask_all, place_of, write_prompt
from evaluator.humaneval.problems import Problem, ProblemsError
from evaluator.humaneval.samples import Sample
from evaluator.interrupts import Interrupts
from evaluator.service import CannotRun

FAILED = 1
"""Exit code: a problem has no answer, or the service was lost."""
Through = Literal["engine", "gateway"]


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    url: str
    out: Path
    through: Through = "engine"
    key: str = ""
    model: str = ""
    problems: Path | None = None
    limit: int | None = None
    samples: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    concurrency: int = 16
    patience: Patience = field(default_factory=Patience)


def run(options: Options, console: Console) -> int:
    """Ask for all answers and return the exit code; raises CannotRun, JournalError."""
    check_writable(options.out)
    if options.out.exists():
        raise CannotRun(f"{options.out} is there already: move it away to ask anew")
    try:
        problems = problem_set.load(options.problems, options.limit)
        return anyio.run(_generate, options, problems, console)
    except (ProblemsError, AskFailed) as exc:
        raise CannotRun(f"{options.url}: {exc}") from exc


def fingerprint(options: Options, problems: Sequence[Problem], model: str) -> str:
    """Return a hash that differs when other answers would come: these do not go together."""
    told = {
        "prompts": [write_prompt(problem) for problem in problems],
        "samples": options.samples,
        "sampling": asdict(options.sampling),
        "through": options.through,
        "model": model,
    }
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


async def _generate(options: Options, problems: Sequence[Problem], console: Console) -> int:
    service = (
        Gateway(options.url)
        if options.through == "gateway"
        else Engine(options.url, options.key, options.model)
    )
    async with service as asked:
        model = await _find_model(asked, options.patience.find_model_s)
        total = len(problems) * options.samples
        side_file = options.out.with_name(options.out.name + ".partial")
        with Journal(side_file, fingerprint(options, problems, model), total) as journal:
            try:
                await _ask(options, problems, asked, journal, total, console)
            except Lost as exc:
                console.print(Text(f"{options.url}: {exc}", style="bold red"), soft_wrap=True)
                _tell_to_resume(journal, total, console)
                return FAILED
            if len(journal.answers) < total:
                _tell_to_resume(journal, total, console)
                return interrupts.EXIT_CODE
            return _finish(options, problems, journal, console)


async def _find_model(asked: Engine | Gateway, limit_s: float) -> str:
    try:
        with anyio.fail_after(limit_s):
            return await asked.find_model()
    except TimeoutError as exc:
        raise CannotRun(f"{asked.url}/v1/models: no answer within {limit_s:g} s") from exc


async def _ask(
    options: Options,
    problems: Sequence[Problem],
    asked: Engine | Gateway,
    journal: Journal,
    total: int,
    console: Console,
) -> None:
    with counting(console) as progress, Interrupts().cancelling():
        task = progress.add_task("asking", total=total, completed=len(journal.answers))
        await ask_all(
            asked,
            problems,
            options.samples,
            options.sampling,
            journal,
            options.concurrency,
            options.patience,
            lambda: progress.update(task, completed=len(journal.answers)),
        )


def _finish(
    options: Options, problems: Sequence[Problem], journal: Journal, console: Console
) -> int:
    answers = to_samples(problems, options.samples, journal.answers)
    sample_file.write(options.out, answers)
    journal.remove()
    console.print(Text(f"{options.out}: {len(answers)} answers"), soft_wrap=True)
    without_code = sum(not one.completion.strip() and not one.error for one in answers)
    if without_code:
        console.print(Text(f"{without_code} of them hold no code", style="yellow"))
    failed = [one for one in answers if one.error]
    if failed:
        text = f"{len(failed)} problems got no answer; the first, {failed[0].task_id}: "
        console.print(Text(text + failed[0].error, style="bold red"), soft_wrap=True)
    return FAILED if failed else 0


def to_samples(
    problems: Sequence[Problem], count: int, answers: dict[int, Answered]
) -> list[Sample]:
    """Return the entries of the finished file, the code of each answer found."""
    entries = []
    for index in range(len(problems) * count):
        place, sample = place_of(index, count)
        problem, answered = problems[place], answers[index]
        entries.append(
            Sample(
                task_id=problem.task_id,
                completion=extract(answered.answer, problem.entry_point),
                sample=sample,
                answer=answered.answer,
                error=answered.error,
            )
        )
    return entries


def _tell_to_resume(journal: Journal, total: int, console: Console) -> None:
    text = f"{len(journal.answers)} of {total} are there; the same command goes on from there"
    console.print(Text(text), soft_wrap=True)
