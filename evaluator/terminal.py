"""Owns the report as the terminal shows it. It shows values; it must not compute scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evaluator.phases import describe_seen
from evaluator.report import Accuracy, PhaseReport, Record, Report, Speed
from evaluator.service import LogTail

WORST = 5
ID_WIDTH, QUESTION_WIDTH = 16, 32
CUT = 400  # of a text of which a line is shown: a terminal has no more columns
_BAR_WIDTH = 20
_ASCII_WORD = re.compile("[a-z0-9]")


def show(report: Report, console: Console) -> None:
    """Print the whole report: phases, scores, worst answers, verdict."""
    console.print()
    console.print(_phases(report))
    if report.official is not None and report.jieba is not None:
        console.print()
        console.print(_accuracy(report, report.official, report.jieba))
        console.print(_what_is_official(report.records))
    if report.speed is not None:
        console.print(_speed(report.speed))
    if report.records:
        console.print(_worst(report.records))
    for warning in report.warnings:
        console.print(Text(f"! {plain(warning)}", style="yellow"))
    console.print(_verdict(report))


def show_log(tail: LogTail, console: Console) -> None:
    """Print the end of a command's output."""
    body = Text("\n".join(plain(line) for line in tail.lines) or "(it printed nothing)")
    console.print(Panel(body, title=Text(f"end of {tail.path}"), border_style="red"))


def plain(text: str, length: int | None = None) -> str:
    """Return the text on one line, without what a terminal would obey, cut to a length."""
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "�" for char in line)
    return line if length is None or len(line) <= length else line[: length - 1] + "…"


def _phases(report: Report) -> Table:
    mode = {"batch": "one POST with all questions", "single": "one POST per question"}
    title = f"{plain(report.name)} · track {report.track} · {plain(report.question_set)}"
    table = Table(title=title, title_justify="left", expand=False)
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    table.add_column("what was seen", overflow="fold")
    for phase in report.phases:
        about = mode.get(report.mode, "") if phase.name == "predict" else ""
        table.add_row(*_phase_row(phase, about))
    return table


def _phase_row(phase: PhaseReport, about: str) -> list[RenderableType]:
    bar = ProgressBar(
        total=phase.limit_s, completed=min(phase.seconds, phase.limit_s), width=_BAR_WIDTH
    )
    if phase.problem:
        said = Text(plain(phase.problem), style="red")
    else:
        said = Text(", ".join(part for part in (about, describe_seen(phase.seen)) if part))
    return [phase.name, f"{phase.seconds:.2f}", f"{phase.limit_s:g}", bar, said]


def _accuracy(report: Report, official: Accuracy, jieba: Accuracy) -> Table:
    count = len(report.records)
    title = f"Accuracy · mean RougeL F1 · {count} questions"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("official", justify="right", style="bold")
    table.add_column("jieba", justify="right")

    def row(name: str, value: Callable[[Accuracy], str]) -> None:
        table.add_row(name, value(official), value(jieba))

    row("mean", lambda accuracy: f"{accuracy.mean:.4f}")
    row(f"{official.interval.level:.0%} interval", _interval)
    table.add_row(
        "scored 0",
        str(sum(record.official == 0 for record in report.records)),
        str(sum(record.jieba == 0 for record in report.records)),
    )
    return table


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.interval.low:.3f} – {accuracy.interval.high:.3f}"


def _what_is_official(records: Sequence[Record]) -> Text:
    blind = sum(not _ASCII_WORD.search(record.reference.lower()) for record in records)
    says = "The official score sees only ASCII words: Chinese characters do not count."
    if blind:
        says += (
            f"\n{blind} of these {len(records)} references have no ASCII word and score 0 whatever "
            f"the answer:\nat most {1 - blind / len(records):.3f} can be reached here."
        )
    return Text(says, style="dim")


def _speed(speed: Speed) -> Text:
    line = Text.assemble(
        "\nSpeed  ",
        (f"{speed.characters_per_s:,.0f} characters/s", "bold"),
        f"  ({speed.characters:,} characters in {speed.post_s:.2f} s of POST /predict; ",
        "the evaluator calls them tokens)",
    )
    if speed.tokens is not None and speed.tokens_per_s is not None:
        line.append(
            f"\n       {speed.tokens_per_s:,.0f} real tokens/s  "
            f"({speed.tokens:,} tokens, by {speed.tokens_source})"
        )
    return line


def _worst(records: Sequence[Record]) -> RenderableType:
    imperfect = [record for record in records if record.jieba < 1]
    if not imperfect:
        return Text("\nEvery answer has the words of its reference.", style="green")
    worst = sorted(imperfect, key=lambda record: (record.jieba, record.official))[:WORST]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim", no_wrap=True, min_width=len("reference"))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for record in worst:
        scores = f"  official {record.official:.2f}  jieba {record.jieba:.2f}"
        grid.add_row(
            Text(plain(record.id, ID_WIDTH), style="bold"),
            Text.assemble((plain(record.question, QUESTION_WIDTH), "bold"), (scores, "cyan")),
        )
        grid.add_row("reference", Text(plain(record.reference, CUT)))
        grid.add_row("answer", _answer(record))
    return Group(Text("\nWorst answers", style="italic"), grid)


def _answer(record: Record) -> Text:
    if record.error:
        return Text(plain(record.error, CUT), style="red")
    return Text(plain(record.answer, CUT)) if record.answer else Text("empty", style="red")


def _verdict(report: Report) -> Panel:
    if report.problems:
        lines = ["THE SUBMISSION FAILS", *(plain(problem) for problem in report.problems)]
        return Panel(Text("\n".join(lines)), style="bold red", expand=False)
    return Panel(Text(f"VALID · {report.grade}"), style="bold green", expand=False)
