"""Shows results: a table for the terminal, Markdown, JSON, and reads those. Must not run any."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from rich.table import Table

from tests.chaos.result import Result

COLUMNS = (
    "fault",
    "engine",
    "runs",
    "prompts",
    "lost",
    "out of order",
    "late",
    "recovery s (median / max)",
    "note",
)


def cells(result: Result) -> tuple[str, ...]:
    """Return a row of the table."""
    names = ("prompts", "lost", "out_of_order", "late")
    counts = (str(result.total(name)) for name in names)
    runs = str(len(result.runs))
    return (result.fault, result.engine, runs, *counts, result.recovery, result.note)


def table(results: Sequence[Result]) -> Table:
    """Return the table for the terminal; what failed is red."""
    drawn = Table(*COLUMNS, title=summary(results), title_justify="left")
    for result in results:
        drawn.add_row(*cells(result), style="" if result.is_good else "bold red")
    return drawn


def markdown(results: Sequence[Result]) -> str:
    """Return the same table as Markdown, with the summary and the machine over it."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(cells(result)) for result in results]
    return "\n".join([f"{summary(results)} {machine()}.", "", *lines, ""])


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"


def summary(results: Sequence[Result]) -> str:
    """Return the sums in one line."""
    bad = [result.name for result in results if not result.is_good]
    verdict = f"failed: {', '.join(bad)}" if bad else "all good"
    runs = sum(len(result.runs) for result in results)
    names = ("prompts", "lost", "out_of_order", "late")
    sums = {name: sum(result.total(name) for result in results) for name in names}
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sums.items())
    return f"{len(results)} rows, {runs} runs: {told}; {verdict}."


def machine() -> str:
    """Tell what all of it ran on."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


def to_json(results: Sequence[Result]) -> str:
    """Return everything, runs included."""
    document = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "is_good": all(result.is_good for result in results),
        "summary": summary(results),
        "rows": [result.to_dict() for result in results],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


class NoReport(ValueError):
    """A file that holds no results."""


def good_results(file: Path) -> list[Result]:
    """Return the rows of an earlier JSON file that lost nothing. Raises NoReport."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        results = [Result.of_dict(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise NoReport(f"{file} holds no results of this program: {exc}") from exc
    return [result for result in results if result.is_good]
