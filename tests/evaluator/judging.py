"""What the tests of a judged run share: plans, a watcher that remembers, free ports."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from evaluator.judge import Plan
from evaluator.report import PhaseReport, Question
from evaluator.tracks import Limits

REPOSITORY = Path(__file__).parents[2]
PYTHON = shlex.quote(sys.executable)
QUESTIONS = tuple(
    Question(id=str(number), question=f"q{number}", reference=f"answer to q{number}")
    for number in range(3)
)


class Remembering:
    """A watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, name: str, limit_s: float | None) -> None:
        self.told.append(f"begin {name}")

    def note(self, text: str) -> None:
        self.told.append(text)

    def end(self, phase: PhaseReport | None) -> None:
        self.told.append("end" if phase is None else f"end {phase.name}")


def plan(url: str, logs: Path, questions: Sequence[Question] = QUESTIONS, **fields: Any) -> Plan:
    """A plan with limits that no test should reach."""
    made = Plan(
        url=url,
        name="test",
        track="metax",
        limits=Limits(build_s=30, health_s=30, predict_s=30),
        questions=questions,
        question_set="set.jsonl",
        logs=logs,
        stop_grace_s=20,
    )
    return replace(made, **fields)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def service_command(port: int, *arguments: str) -> str:
    """The command line of a fake service as a program."""
    words = ["-m", "tests.fakes.service", "--port", str(port), *arguments]
    return f"cd {shlex.quote(str(REPOSITORY))} && exec {PYTHON} {shlex.join(words)}"
