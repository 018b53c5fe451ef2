"""Owns a comparison as tables in the terminal. It shows; it computes no figure of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import commonprefix

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluator.comparison import Comparison, QuestionChange, ScoreChange

MAX_ROWS = 20
KEPT = 4
"""Characters shown before the place where two answers part."""


def show(comparison: Comparison, console: Console) -> None:
    """Print the comparison: overall first, then the questions that changed, worst first."""
    console.print(_names(comparison))
    console.print(_overall(comparison))
    for line in _remarks(comparison):
        console.print(line)
    changed = [one for one in comparison.questions if _has_moved(one)]
    if changed:
        console.print(_questions(changed))
    if len(changed) > MAX_ROWS:
        console.print(f"and {len(changed) - MAX_ROWS} more with other scores: see --json")


def _has_moved(change: QuestionChange) -> bool:
    return bool(change.jieba_difference or change.official_difference)


def _names(comparison: Comparison) -> Text:
    return Text.assemble(
        ("a  ", "bold"), _line(comparison.name_a), ("\nb  ", "bold"), _line(comparison.name_b)
    )


def _overall(comparison: Comparison) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("", "a", "b", "b - a", "interval", "p", "up/down", "verdict"):
        table.add_column(heading, no_wrap=True)
    for name, score in (("official", comparison.official), ("jieba", comparison.jieba)):
        table.add_row(name, *(_score_cells(score) if score else ("–",) * 6), _verdict(score))
    table.add_row("chars/s", *_speed_cells(comparison))
    return table


def _score_cells(score: ScoreChange) -> tuple[str, ...]:
    interval = score.test.interval
    return (
        f"{score.mean_a:.3f}",
        f"{score.mean_b:.3f}",
        f"{score.test.difference:+.3f}",
        f"{interval.low:+.3f}…{interval.high:+.3f}",
        f"{score.test.p_value:.2g}",
        f"{score.n_better}/{score.n_worse}",
    )


def _verdict(score: ScoreChange | None) -> Text:
    if score is None:
        return Text("not scored in both")
    if not score.is_more_than_noise:
        return Text("may be noise", style="yellow")
    if score.test.difference < 0:
        return Text("worse", style="red")
    return Text("better", style="green")


def _speed_cells(comparison: Comparison) -> tuple[str, ...]:
    a, b = comparison.characters_per_s_a, comparison.characters_per_s_b
    ratio = comparison.speed_ratio
    return (
        "–" if a is None else f"{a:,.0f}",
        "–" if b is None else f"{b:,.0f}",
        "–" if ratio is None else f"× {ratio:.2f}",
    )


def _remarks(comparison: Comparison) -> Iterator[Text]:
    n = len(comparison.questions)
    yield Text(f"{comparison.n_answers_changed} of {n} answers changed")
    for run, problems in (("a", comparison.problems_a), ("b", comparison.problems_b)):
        for problem in problems:
            yield Text(f"run {run} fails: {_line(problem)}", style="red")
    if comparison.n_references_changed:
        yield Text(
            f"{comparison.n_references_changed} references differ:"
            " those scores are not of the same thing",
            style="yellow",
        )
    for run, ids in (("a", comparison.only_in_a), ("b", comparison.only_in_b)):
        if ids:
            yield Text(f"{len(ids)} questions only in {run}: {_shortened(ids)}", style="yellow")


def _shortened(ids: Sequence[str]) -> str:
    more = f", … {len(ids) - 10} more" if len(ids) > 10 else ""
    return ", ".join(_line(one) for one in ids[:10]) + more


def _questions(changed: Sequence[QuestionChange]) -> Table:
    table = Table(expand=True, box=SIMPLE)
    for heading in ("id", "jieba", "official"):
        table.add_column(heading, no_wrap=True, max_width=11)
    for heading in ("question", "a, from the change on", "b, from the change on"):
        table.add_column(heading, ratio=1, no_wrap=True, overflow="ellipsis")
    for one in changed[:MAX_ROWS]:
        table.add_row(
            Text(_line(one.id)),
            _from_to(one.jieba_a, one.jieba_b),
            _from_to(one.official_a, one.official_b),
            *(Text(_line(text)) for text in (one.question, *_parting(one.answer_a, one.answer_b))),
        )
    return table


def _from_to(a: float, b: float) -> Text:
    style = "red" if b < a else "green" if b > a else "dim"
    return Text(f"{a:.2f} → {b:.2f}", style=style)


def _parting(a: str, b: str) -> tuple[str, str]:
    """Cut what both answers begin with, but for a few characters to find the place by."""
    start = len(commonprefix([a, b])) - KEPT
    return (a, b) if start <= 0 else ("…" + a[start:], "…" + b[start:])


def _line(text: str) -> str:
    """One line that moves no cursor and changes no colour: control characters become blanks."""
    return "".join(character if character.isprintable() else " " for character in text)
