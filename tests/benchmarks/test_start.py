"""A start by its phases."""

from __future__ import annotations

from benchmarks.start import Starts, table
from benchmarks.start_timeline import BEFORE, LOOK, WAVE


def test_phases_are_rows_in_the_order_of_a_start_and_a_variant_may_lack_some() -> None:
    eager = Starts([{BEFORE: 1.0, "weights": 2.0, LOOK: 0.5, WAVE: 3.0}])
    compiled = Starts(
        [
            {BEFORE: 1.0, "weights": 2.0, "compile": 20.0, LOOK: 0.5, WAVE: 3.0},
            {BEFORE: 3.0, "weights": 4.0, "compile": 30.0, LOOK: 0.5, WAVE: 3.0},
        ]
    )
    rows = [
        line.split(" | ") for line in table({"eager": eager, "compiled": compiled}).splitlines()
    ]
    assert [row[0].strip("| ") for row in rows[2:7]] == [BEFORE, "weights", "compile", LOOK, WAVE]
    assert rows[4][1:] == ["0.00 (0.00–0.00)", "25.00 (20.00–30.00) |"]
    assert rows[7] == ["| **total**", "6.50 (6.50–6.50)", "33.50 (26.50–40.50) |"]


def test_ours_is_neither_the_engines_start_nor_the_wave() -> None:
    assert Starts([{BEFORE: 1.0, "weights": 2.0, LOOK: 0.5, WAVE: 3.0}]).own == [1.5]
