"""Owns a scored run as one HTML page. It shows values; it must not compute scores."""

from __future__ import annotations

from collections import Counter

from evaluator import pages
from evaluator.humaneval.results import Result
from evaluator.humaneval.terminal import cross_check

MAX_SHOWN = 8_000
"""Characters of one text on the page; the JSON file has all."""


def render(result: Result) -> str:
    """Return the page; what did not pass comes first, then the order of the problems."""
    scored = sorted(result.scored, key=lambda one: one.is_passed)
    said = cross_check(result)
    return pages.render(
        "humaneval.html.j2",
        style="report.css",
        result=result,
        scored=scored,
        counts=Counter(one.status for one in result.scored),
        cross_check="" if said is None else said.plain,
        cut=MAX_SHOWN,
    )
