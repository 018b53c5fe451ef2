"""Owns what a check says: a status, what was seen, which limit, what to do. It checks nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a check ended, worst last. Skipped: it could not be made, and says why."""

    SKIPPED = "skipped"
    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


_SEVERITY = list(Status)


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    name: str
    status: Status
    observed: str
    limit: str = ""
    advice: str = ""


def ok(name: str, observed: str, limit: str = "") -> Result:
    """Return a row that asks for nothing."""
    return Result(name, Status.OK, observed, limit)


def skipped(name: str, why: str, advice: str = "") -> Result:
    """Return a row for what could not be checked."""
    return Result(name, Status.SKIPPED, f"not checked: {why}", advice=advice)


def warning(name: str, observed: str, advice: str, limit: str = "") -> Result:
    """Return a row that need not stop a submission."""
    return Result(name, Status.WARNING, observed, limit, advice)


def failure(name: str, observed: str, advice: str, limit: str = "") -> Result:
    """Return a row that a submission would fail by."""
    return Result(name, Status.FAILURE, observed, limit, advice)


def worst(results: Iterable[Result]) -> Status:
    """Return the gravest status; ok when there is none."""
    statuses = [Status.OK, *(result.status for result in results)]
    return max(statuses, key=_SEVERITY.index)


def some_of(names: Iterable[str], most: int = 3) -> str:
    """Name the first few of many, on one line."""
    all_names = list(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more
