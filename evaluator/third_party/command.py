"""Owns `evaluator aisbench | evalscope | lm-eval`: from options to files, table and exit code."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import msgspec
from rich.console import Console
from rich.text import Text

from evaluator import interrupts, questions, report
from evaluator.chat import AskFailed, Engine
from evaluator.files import as_text, cannot_write, check_writable, replace_file
from evaluator.humaneval import problems as problem_set
from evaluator.humaneval import scoring
from evaluator.humaneval.extraction import extract
from evaluator.humaneval.problems import Problem, ProblemsError
from evaluator.humaneval.samples import Sample
from evaluator.progress import TerminalWatcher
from evaluator.questions import QuestionSetError
from evaluator.report import Question
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import SandboxFailed
from evaluator.sandbox.ways import Jail
from evaluator.service import CannotRun
from evaluator.third_party import outcome as outcomes
from evaluator.third_party import running
from evaluator.third_party.job import PRIVATE, Job, Tool, ToolFailed
from evaluator.third_party.outcome import Answer, Outcome

ROOT = Path(__file__).parents[2]
FIND_MODEL_S = 30.0


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    url: str
    questions: Path
    limit: int | None = None
    model: str = ""
    key_variable: str = "ENGINE_API_KEY"
    max_tokens: int = 512
    concurrency: int = 8
    beside: Path | None = None
    json: Path | None = None
    python: Path | None = None
    is_humaneval: bool = False


def run(tool: Tool, options: Options, console: Console) -> int:
    """Run a tool and return the exit code; raises CannotRun, CannotWrite, UnreadableReport."""
    python = options.python or running.find_python(tool, ROOT)
    json_file = _json_file(tool, options)
    job = make_job(options)
    judged, name = _judged(options, job)
    folder = json_file.with_suffix("")
    version = _version(tool, python)
    try:
        with cannot_write(folder):
            folder.mkdir(mode=PRIVATE)
            plan = tool.prepare(job, folder.absolute(), python)
        with TerminalWatcher(console) as watcher:
            seconds = anyio.run(running.run, tool, job, plan, folder.absolute(), watcher)
        if seconds is None:
            return interrupts.EXIT_CODE
        gathered = tool.read(job, folder.absolute())
    except ToolFailed as exc:
        raise CannotRun(f"{exc}\nits files: {folder}") from exc
    answers = outcomes.pair_up(job, gathered.answers)
    outcome = Outcome(
        tool=tool.name,
        version=version,
        url=job.url,
        model=job.model,
        question_set="HumanEval" if job.problems else as_text(options.questions),
        seconds=seconds,
        figures=gathered.figures,
        ours=_ours(job, answers),
        judged=judged,
        judged_name=name,
        answers=answers,
    )
    outcomes.show(outcome, console)
    with cannot_write(json_file):
        replace_file(json_file, msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
    console.print(Text(f"records: {json_file}\nits own files: {folder}"), soft_wrap=True)
    return 0


def make_job(options: Options) -> Job:
    """Read the question set and find out which model is served; raises CannotRun."""
    chosen: list[Question] = []
    problems: list[Problem] = []
    try:
        if options.is_humaneval:
            problems = problem_set.load(limit=options.limit)
        else:
            chosen = questions.load(options.questions, options.limit)
    except (QuestionSetError, ProblemsError) as exc:
        raise CannotRun(str(exc)) from exc
    url = options.url.rstrip("/").removesuffix("/v1")
    return Job(
        url=url,
        model=anyio.run(_find_model, url, options),
        questions=tuple(chosen),
        problems=tuple(problems),
        key_variable=options.key_variable,
        max_tokens=options.max_tokens,
        concurrency=options.concurrency,
    )


async def _find_model(url: str, options: Options) -> str:
    key = os.environ.get(options.key_variable, "")
    try:
        with anyio.fail_after(FIND_MODEL_S):
            async with Engine(url, key, options.model) as engine:
                return await engine.find_model()
    except (AskFailed, TimeoutError) as exc:
        raise CannotRun(f"{url}/v1/models: {exc or 'no answer'}") from exc


def _ours(job: Job, answers: Sequence[Answer]) -> dict[str, float]:
    """Score the very answers that the tool got: HumanEval's in our sandbox."""
    if not job.problems:
        return outcomes.figures_of([(one.reference, one.answer) for one in answers])
    completions = [
        Sample(task_id=one.task_id, completion=extract(answer.answer, one.entry_point))
        for one, answer in zip(job.problems, answers, strict=True)
    ]
    score = partial(
        scoring.score,
        completions,
        job.problems,
        name="",
        limits=Limits(),
        way=Jail(),
        way_name="",
        workers=os.cpu_count() or 1,
        ks=(1,),
    )
    try:
        return {"pass@1": anyio.run(score).pass_at_k[0].value}
    except SandboxFailed as exc:
        raise CannotRun(str(exc)) from exc


def _judged(options: Options, job: Job) -> tuple[dict[str, float], str]:
    if options.beside is None:
        return {}, ""
    judged = report.read(options.beside)
    try:
        return outcomes.figures_of_judged(judged, job.questions), judged.name
    except ValueError as exc:
        raise CannotRun(f"{options.beside}: {exc}") from exc


def _json_file(tool: Tool, options: Options) -> Path:
    stem = Path("run") / time.strftime(f"{tool.name}-%Y%m%d-%H%M%S")
    json_file = options.json or stem.with_suffix(".json")
    if json_file.suffix != ".json":
        raise CannotRun(f"{json_file}: a name that ends with .json is needed")
    check_writable(json_file)
    if json_file.with_suffix("").exists():
        raise CannotRun(f"{json_file.with_suffix('')} is there already: move it away first")
    return json_file


def _version(tool: Tool, python: Path) -> str:
    ask = f"from importlib.metadata import version; print(version({tool.package!r}))"
    try:
        done = subprocess.run(
            [python, "-c", ask], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise CannotRun(f"{python}: has no {tool.package}: {exc}") from exc
    return done.stdout.strip()
