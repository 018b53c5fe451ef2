"""Owns one whole run: build, start, health, predict, marking. It shows nothing, writes no report.

The phases' own rules are in their modules; here is their order, and what each leaves behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import anyio
from tokenizers import Tokenizer

from evaluator import engine_tokens, scoring
from evaluator.client import Client, Mode
from evaluator.engine_tokens import Tokens
from evaluator.health import LOOK_TIMEOUT_S, Health, wait_until_healthy
from evaluator.interrupts import Interrupts
from evaluator.marking import accuracies, mark
from evaluator.phases import Phases, Watcher, describe_seen
from evaluator.predicting import Answer, Prediction, predict_batch, predict_single
from evaluator.report import Question, Report, Speed
from evaluator.service import STOP_GRACE_S, CannotRun, Command, LogTail, running
from evaluator.tracks import Limits

_NOT_THERE = ("refused", "unknown host")
# A lost connection is seen before the end that caused it.
_END_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What to judge, and how."""

    url: str
    name: str
    track: str
    limits: Limits
    questions: Sequence[Question]
    question_set: str
    logs: Path
    """Where the commands' output goes: this path with `.build.log` or `.service.log` added."""
    build: str = ""
    start: str = ""
    tokenizer: Tokenizer | None = None
    warnings: tuple[str, ...] = ()
    stop_grace_s: float = STOP_GRACE_S


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    report: Report
    log: LogTail | None = None
    """The end of the output of the command that failed."""
    is_interrupted: bool = False
    """Before all questions had been asked."""


async def judge(plan: Plan, watcher: Watcher, interrupts: Interrupts) -> Outcome:
    """Run every phase until one fails, or an interrupt comes; raises CannotRun."""
    run = _Run(plan, watcher, interrupts)
    async with Client(plan.url) as client:
        with interrupts.cancelling():
            await run.all_phases(client)
    return run.outcome()


class _Run:
    def __init__(self, plan: Plan, watcher: Watcher, interrupts: Interrupts) -> None:
        self._plan = plan
        self._watcher = watcher
        self._interrupts = interrupts
        self._began_at = datetime.now(timezone.utc)
        self._phases = Phases(watcher, lambda: interrupts.has_come)
        self._mode: Mode | None = None
        self._prediction = Prediction()
        self._tokens: Tokens | None = None
        self._log: LogTail | None = None
        self._is_complete = False
        self._warnings = list(plan.warnings)

    async def all_phases(self, client: Client) -> None:
        if self._plan.start:
            await self._refuse_a_stranger(client)
        if self._plan.build:
            await self._build()
        if self._phases.problems:
            return
        async with self._service() as command:
            await self._health(client, command)
            if not self._phases.problems:
                await self._predict(client, command)

    async def _refuse_a_stranger(self, client: Client) -> None:
        """Another service at the URL would be judged in the place of the one to be started."""
        what = "timeout"
        with anyio.move_on_after(LOOK_TIMEOUT_S):
            what = (await client.look()).what
        if what not in _NOT_THERE:
            raise CannotRun(
                f"something is at {self._plan.url} already ({what}): stop it, or give another URL"
            )

    async def _build(self) -> None:
        limit_s = self._plan.limits.build_s
        log = Path(f"{self._plan.logs}.build.log")
        with self._phases.phase("build", limit_s) as phase:
            async with running(
                self._plan.build, log, is_urgent=lambda: self._interrupts.is_urgent
            ) as command:
                phase.problem = f"took longer than {limit_s:g} s"
                with anyio.move_on_after(limit_s):
                    await command.wait()
                    phase.problem = command.find_failure()
                if phase.problem:
                    self._log = command.tail()

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[Command | None]:
        """Have the service running for the length of a block; None when it is not ours."""
        if not self._plan.start:
            yield None
            return
        try:
            async with running(
                self._plan.start,
                Path(f"{self._plan.logs}.service.log"),
                grace_s=self._plan.stop_grace_s,
                is_urgent=lambda: self._interrupts.is_urgent,
            ) as command:
                try:
                    yield command
                finally:
                    self._look_back(command)
                    self._watcher.begin("stopping the service", None)
        finally:
            self._watcher.end(None)

    def _look_back(self, command: Command) -> None:
        if self._phases.problems and not self._interrupts.has_come:
            self._log = command.tail()
        if command.exit_code == 0:
            self._warnings.append(
                "the --start command had ended by itself, with exit code 0: a service is only "
                "timed and stopped properly while it stays in the foreground"
            )

    async def _health(self, client: Client, command: Command | None) -> None:
        start = anyio.current_time() if command is None else command.started_at
        limit_s = self._plan.limits.health_s
        with self._phases.phase("health", limit_s, start) as phase:
            health = Health(seen=phase.seen)
            await wait_until_healthy(
                client,
                health,
                start + limit_s,
                find_end=lambda: _describe_end(command),
                on_look=lambda: self._watcher.note(describe_seen(health.seen)),
            )
            phase.problem = health.problem
            self._mode = health.mode

    async def _predict(self, client: Client, command: Command | None) -> None:
        prompts = [question.question for question in self._plan.questions]
        limit_s = self._plan.limits.predict_s
        before = await engine_tokens.scrape(client)
        with self._phases.phase("predict", limit_s) as phase:
            self._prediction = prediction = Prediction(seen=phase.seen)
            if self._mode == "batch":
                self._watcher.note(f"one POST with {len(prompts)} questions")
                await predict_batch(client, prompts, limit_s, prediction)
            else:
                await predict_single(client, prompts, limit_s, prediction, self._count)
            phase.problem = prediction.problem
            if phase.problem:
                phase.problem += await _wait_for_end(command)
        self._is_complete = True
        self._warnings += prediction.warnings
        self._tokens = engine_tokens.difference(before, await engine_tokens.scrape(client))

    def _count(self, answered: int) -> None:
        self._watcher.note(f"{answered} of {len(self._plan.questions)} questions")

    def outcome(self) -> Outcome:
        answers = self._prediction.answers
        records = mark(self._plan.questions, answers)
        official, jieba = accuracies(records)
        problems = self._phases.problems
        is_interrupted = self._interrupts.has_come and not self._is_complete
        if is_interrupted:
            problems = problems or ["interrupted"]
            self._warnings.append(f"interrupted after {len(records)} answers; only they are scored")
        report = Report(
            name=self._plan.name,
            url=self._plan.url,
            track=self._plan.track,
            question_set=self._plan.question_set,
            started_at=self._began_at.isoformat(timespec="seconds"),
            mode=self._mode or "",
            phases=tuple(self._phases.done),
            official=official,
            jieba=jieba,
            speed=self._speed(answers) if records else None,
            grade=scoring.grade(official.mean) if official is not None and not problems else "",
            problems=tuple(problems),
            warnings=tuple(self._warnings),
            records=tuple(records),
        )
        return Outcome(report, self._log, is_interrupted)

    def _speed(self, answers: Sequence[Answer]) -> Speed:
        texts = [answer.text for answer in answers]
        tokens = self._tokens
        if self._plan.tokenizer is not None:
            tokens = engine_tokens.count_tokens(self._plan.tokenizer, texts)
        return engine_tokens.with_tokens(scoring.speed(texts, self._prediction.post_s), tokens)


def _describe_end(command: Command | None) -> str:
    failure = "" if command is None else command.find_failure()
    return f"the service ended with {failure}" if failure else ""


async def _wait_for_end(command: Command | None) -> str:
    """Say how the service ended, if it did."""
    if command is None:
        return ""
    with anyio.move_on_after(_END_S):
        await command.wait()
    end = _describe_end(command)
    return f"; {end}" if end else ""
