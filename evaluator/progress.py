"""Owns what the terminal shows while a run goes on: a line per phase, alive against its limit.

Where there is no terminal, a plain line per phase when it has ended.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from evaluator.phases import describe_seen
from evaluator.report import PhaseReport

BAR_WIDTH = 30


class TimeBar(ProgressColumn):
    """A phase's time against its limit, as a bar."""

    max_refresh = None

    def render(self, task: Task) -> ProgressBar:
        """Draw it; without a limit it only pulses."""
        limit_s = task.fields["limit_s"]
        elapsed_s = task.elapsed or 0.0
        return ProgressBar(
            total=limit_s, completed=min(elapsed_s, limit_s or elapsed_s), width=BAR_WIDTH
        )


class TimeText(ProgressColumn):
    """The same in seconds."""

    max_refresh = None

    def render(self, task: Task) -> Text:
        """Write it."""
        limit_s = task.fields["limit_s"]
        limit = "" if limit_s is None else f" / {limit_s:g}"
        return Text(f"{task.elapsed or 0.0:.1f}{limit} s", style="cyan")


class TerminalWatcher:
    """Shows the phases of a run; a context, within which nothing else should print."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            TimeBar(),
            TimeText(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> TerminalWatcher:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, name: str, limit_s: float | None) -> None:
        """Show a new line."""
        self._task = self._progress.add_task(name, total=None, limit_s=limit_s, note="")

    def note(self, text: str) -> None:
        """Write beside it."""
        if self._task is not None:
            self._progress.update(self._task, note=text)

    def end(self, phase: PhaseReport | None) -> None:
        """Replace the line by what became of the phase."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        if phase is not None:
            self._console.print(describe_phase(phase), highlight=False, soft_wrap=True)


def describe_phase(phase: PhaseReport) -> Text:
    """Return one line on a phase that has ended."""
    sign = Text("✗ ", style="bold red") if phase.problem else Text("✓ ", style="bold green")
    said = phase.problem or describe_seen(phase.seen)
    return Text.assemble(sign, (f"{phase.name:<8}", "bold"), f"{phase.seconds:8.2f} s", "  ", said)
