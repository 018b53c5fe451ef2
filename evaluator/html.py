"""Owns the report as one HTML page. It shows values; it must not compute scores."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from evaluator import pages, plots
from evaluator.diff import Marked, Piece, differences
from evaluator.report import Record, Report

MAX_SHOWN = 8_000
"""Characters of one text on the page; the JSON file has all. Runaway answers would swell it."""
OPEN_AT_FIRST = 3
GRADE_MARKS = (0.23, 0.28, 0.35)

_ASCII_WORD = re.compile("[a-z0-9]")
_HAN = re.compile("[\u4e00-\u9fff]")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One question as the page shows it."""

    position: int
    """In the question set, from 0."""
    record: Record
    reference: Marked
    answer: Marked
    reference_hidden: int
    """Characters left out of the page."""
    answer_hidden: int
    is_bad: bool
    """It has an error, or no answer."""
    is_blind: bool
    """The official score of any answer is 0: no ASCII word in the reference."""


def render(report: Report) -> str:
    """Return the whole page; its worst answers come first."""
    records = report.records
    return pages.render(
        "report.html.j2",
        script="report.js",
        style="report.css",
        report=report,
        rows=_rows(records),
        n=len(records),
        n_blind=sum(_is_blind(record) for record in records),
        n_bad=sum(_is_bad(record) for record in records),
        distribution=plots.score_distribution(records) if records else None,
        lengths=plots.length_against_score(records) if records else None,
        latency=plots.latency(records),
        timeline=plots.timeline(report.phases),
        official_scale=report.official
        and plots.scale(
            report.official, (0, GRADE_MARKS[0], GRADE_MARKS[-1], 1), GRADE_MARKS[1:-1]
        ),
        jieba_scale=report.jieba and plots.scale(report.jieba, (0, 0.5, 1)),
        area=plots,
        grade_marks=GRADE_MARKS,
        open_at_first=OPEN_AT_FIRST,
        text_language=_language(records),
    )


def _rows(records: Sequence[Record]) -> list[Row]:
    rows = [_row(position, record) for position, record in enumerate(records)]
    return sorted(rows, key=lambda row: (row.record.jieba, row.record.official, row.position))


def _row(position: int, record: Record) -> Row:
    reference, answer = _marked(record.reference[:MAX_SHOWN], record.answer[:MAX_SHOWN])
    return Row(
        position=position,
        record=record,
        reference=reference,
        answer=answer,
        reference_hidden=max(0, len(record.reference) - MAX_SHOWN),
        answer_hidden=max(0, len(record.answer) - MAX_SHOWN),
        is_bad=_is_bad(record),
        is_blind=_is_blind(record),
    )


def _marked(reference: str, answer: str) -> tuple[Marked, Marked]:
    """Mark nothing where one side is empty: the whole other side would be marked."""
    if reference and answer:
        return differences(reference, answer)
    return _plain(reference), _plain(answer)


def _plain(text: str) -> Marked:
    return (Piece(text, True),) if text else ()


def _is_bad(record: Record) -> bool:
    return bool(record.error) or not record.answer


def _is_blind(record: Record) -> bool:
    return not _ASCII_WORD.search(record.reference.lower())


def _language(records: Sequence[Record]) -> str:
    """Han characters are drawn by language: without one a browser may pick Japanese forms."""
    return "zh-CN" if any(_HAN.search(record.question) for record in records) else ""
