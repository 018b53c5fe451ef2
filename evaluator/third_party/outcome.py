"""Owns what a run of a tool comes to: its figures, ours of the same answers, the table, the file.

Scores are computed by scoring.py alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluator import scoring
from evaluator.report import Question, Report
from evaluator.terminal import plain
from evaluator.third_party.job import Job

FORMAT = 1


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One question with the answer that the tool got."""

    id: str
    question: str
    reference: str
    answer: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run of a tool."""

    format: int = FORMAT
    tool: str
    version: str
    url: str
    model: str
    question_set: str
    seconds: float
    figures: dict[str, float]
    """The tool's own, by its names, in its units."""
    ours: dict[str, float]
    """Of the very answers that the tool got."""
    judged: dict[str, float] = {}
    """Of a run of `evaluator judge` over the same questions, when one is named."""
    judged_name: str = ""
    answers: tuple[Answer, ...] = ()


def figures_of(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Score answers, given as (reference, answer); ValueError without any.

    In the official score Chinese characters do not count; an answer is identical to its reference
    when they differ in white space at the ends only.
    """
    if not pairs:
        raise ValueError("there are no answers to score")
    count = len(pairs)
    return {
        "official RougeL F1": sum(scoring.official(*pair) for pair in pairs) / count,
        "jieba RougeL F1": sum(scoring.jieba_score(*pair) for pair in pairs) / count,
        "identical": sum(one.strip() == other.strip() for one, other in pairs) / count,
        "empty": sum(not answer.strip() for _, answer in pairs) / count,
    }


def pair_up(job: Job, answers: Sequence[str]) -> tuple[Answer, ...]:
    """Put the answers to their questions, or problems."""
    asked = [(one.id, one.question, one.reference) for one in job.questions]
    asked += [(one.task_id, one.prompt, one.canonical_solution) for one in job.problems]
    return tuple(
        Answer(id=own_id, question=question, reference=reference, answer=answer)
        for (own_id, question, reference), answer in zip(asked, answers, strict=True)
    )


def figures_of_judged(judged: Report, questions: Sequence[Question]) -> dict[str, float]:
    """Return our figures of a judged run; ValueError when it was over other questions."""
    records = {record.question: record for record in judged.records}
    missing = [one.id for one in questions if one.question not in records]
    if missing:
        raise ValueError(
            f"has no answer to {len(missing)} of these questions, such as {missing[0]}"
        )
    return figures_of([(one.reference, records[one.question].answer) for one in questions])


def show(outcome: Outcome, console: Console) -> None:
    """Print the tool's figures and ours in one table."""
    title = f"\n{outcome.tool} {outcome.version} · {outcome.model} · {outcome.question_set}"
    console.print(Text(plain(title)))
    table = Table()
    table.add_column("by")
    table.add_column("figure")
    table.add_column("value", justify="right", style="bold")
    for label, figures in _parts(outcome):
        for name, value in figures.items():
            table.add_row(label, plain(name, 60), f"{value:.4f}")
        table.add_section()
    console.print(table)
    console.print(Text(f"{len(outcome.answers)} questions in {outcome.seconds:.1f} s", "dim"))


def _parts(outcome: Outcome) -> Iterator[tuple[str, dict[str, float]]]:
    yield outcome.tool, outcome.figures
    yield "ours, same answers", outcome.ours
    if outcome.judged:
        yield f"ours, judged: {plain(outcome.judged_name, 30)}", outcome.judged
