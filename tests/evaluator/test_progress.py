from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from evaluator.progress import TerminalWatcher
from evaluator.report import PhaseReport

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def phase(problem: str = "") -> PhaseReport:
    return PhaseReport(
        name="health",
        started_s=0,
        seconds=3.456,
        limit_s=180,
        problem=problem,
        seen={"refused": 2, "status 503": 1},
    )


def test_without_a_terminal_there_is_a_line_per_phase() -> None:
    out = StringIO()
    with TerminalWatcher(Console(file=out, width=100)) as watcher:
        watcher.begin("health", 180)
        watcher.note("refused ×2")
        watcher.end(phase())
        watcher.begin("stopping the service", None)
        watcher.end(None)
        watcher.end(phase("not healthy [bold]"))
    assert out.getvalue() == (
        "✓ health      3.46 s  refused ×2, status 503 ×1\n"
        "✗ health      3.46 s  not healthy [bold]\n"
    )


@pytest.mark.parametrize(("limit_s", "time"), [(180, "/ 180 s"), (None, "0.0 s")])
def test_terminal_shows_what_goes_on_against_its_limit(limit_s: float | None, time: str) -> None:
    out = StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    watcher = TerminalWatcher(console)
    watcher.note("nothing has begun: not shown")
    with watcher:
        watcher.begin("health", limit_s)
        watcher.note("refused ×2")
        watcher._progress.refresh()
        watcher.end(phase())
    text = ANSI.sub("", out.getvalue())
    assert "health" in text
    assert time in text
    assert "refused ×2" in text
    assert "✓ health" in text
    assert "not shown" not in text
