"""Owns how results are shown: a table for people, JSON for programs. It judges nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launcher.checks.result import Result, Status, worst

_STYLES = {
    Status.SKIPPED: "dim",
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAILURE: "bold red",
}


def as_json(results: Sequence[Result], track: str | None) -> str:
    """Return the results as a JSON object."""
    rows = [asdict(result) for result in results]
    report = {"status": worst(results).value, "track": track, "checks": rows}
    return json.dumps(report, indent=2)


def show(results: Sequence[Result], console: Console) -> None:
    """Print the table, and how many of each there are."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what was found, which limit, what to do")
    for result in results:
        status = Text(result.status.value, style=_STYLES[result.status])
        table.add_row(Text(result.name), status, _found(result))
    console.print(table)
    console.print(_summary(results))


def _found(result: Result) -> Text:
    text = Text(_line(result.observed))
    if result.limit:
        text.append(f"\nlimit: {_line(result.limit)}", style="dim")
    if result.advice:
        text.append(f"\n→ {_line(result.advice)}", style=_STYLES[result.status])
    return text


def _summary(results: Sequence[Result]) -> Text:
    counts = {status: sum(one.status is status for one in results) for status in Status}
    told = ", ".join(
        f"{counts[status]} {status.value}" for status in reversed(list(Status)) if counts[status]
    )
    return Text(told, style=_STYLES[worst(results)])


def _line(text: str) -> str:
    """One line that moves no cursor and changes no colour: names of files may hold anything."""
    return "".join(character if character.isprintable() else " " for character in text)
