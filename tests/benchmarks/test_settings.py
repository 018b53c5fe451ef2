"""Comparing settings of the engine with its defaults."""

from __future__ import annotations

from benchmarks.batch_rounds import Measured
from benchmarks.settings import DEFAULT, compare, parse, table


def test_several_settings_may_be_tried_together() -> None:
    assert parse("A=1 B=x=y") == {"A": "1", "B": "x=y"}
    assert parse("") == parse(DEFAULT) == {}


def test_only_what_differs_by_more_than_a_twentieth_is_asked_on() -> None:
    rows = compare(
        {
            DEFAULT: Measured([1.0, 2.0], ["ab"]),
            "A=1": Measured([1.04, 2.0], ["ab"]),
            "A=2": Measured([0.9, 1.8], ["ab"]),
            "A=3": Measured([1.2, 2.4], ["ab"]),
            "A=4": Measured(reason="gone"),
        }
    )
    assert [text for text, row in rows.items() if row.is_promising] == ["A=2", "A=3"]
    text = table(rows)
    assert "| `A=3` | 1.80 (1.20–2.40) | 1.20 (1.20–1.20) | 2 | 2 |" in text
    assert "| `A=4` | – | – | 0 | gone |" in text
