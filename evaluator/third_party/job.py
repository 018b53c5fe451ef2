"""Owns what a tool is asked to do and what it brings back, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from evaluator.humaneval.problems import Problem
from evaluator.report import Question

PRIVATE = 0o700
"""Of the folder of a run: a tool may write the key down."""


class ToolFailed(Exception):
    """A tool brought no result; the message says what was found instead."""


@dataclass(frozen=True)
class Job:
    """One question set, or HumanEval, for one engine."""

    url: str
    """Of the engine, without /v1."""
    model: str
    questions: tuple[Question, ...] = ()
    """Each with its reference."""
    problems: tuple[Problem, ...] = ()
    """Of HumanEval; then there are no questions."""
    key_variable: str = "ENGINE_API_KEY"
    max_tokens: int = 512
    concurrency: int = 8

    @property
    def count(self) -> int:
        """How many answers there will be."""
        return len(self.questions) + len(self.problems)


@dataclass(frozen=True)
class Plan:
    """A command to run in the folder of the run; the tool's own files are there already."""

    argv: tuple[str, ...]
    key_variable: str = ""
    """The variable that the tool takes its key from; "" when a file of ours reads it."""
    environ: Mapping[str, str] = field(default_factory=dict)


class Gathered(NamedTuple):
    """What a tool found."""

    figures: dict[str, float]
    """By the tool's own names, in its own units."""
    answers: list[str]
    """In the order of the questions."""


class Tool(Protocol):
    """One tool: how it is configured, how its files are read."""

    name: str
    """Of the command, of `requirements/NAME.txt` and of `.venv-NAME`."""
    package: str

    def prepare(self, job: Job, folder: Path, python: Path) -> Plan:
        """Write the tool's files into an empty folder; raises ToolFailed for what it cannot do."""

    def read(self, job: Job, folder: Path) -> Gathered:
        """Read what it wrote; raises ToolFailed: an exit code of 0 says nothing."""
