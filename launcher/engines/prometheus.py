"""Owns the scan of an engine's Prometheus page for the few lines that are needed: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set


def sums(text: str, names: Set[str]) -> Mapping[str, float]:
    """Add up the samples of each name; the page has thousands that are not needed."""
    found: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        name = line.partition(" ")[0].partition("{")[0]
        if name in names:
            found[name] += _number(line.rpartition(" ")[2])
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
