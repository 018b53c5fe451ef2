"""Owns the bar of work that is counted: so many of so many, and how long for the rest."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def counting(console: Console, *, is_transient: bool = False) -> Progress:
    """Return the bar, which shows nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=is_transient,
        disable=not console.is_terminal,
    )
