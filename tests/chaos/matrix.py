"""All rows of the fault matrix, in the order in which one real stack can serve many of them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos import (
    answer_faults,
    batch_shapes,
    deadline,
    gateway_faults,
    process_faults,
    real_shapes,
    resources,
)
from tests.chaos.row import Row

# The last ones end the stack.
REAL_ROWS: tuple[Row, ...] = (*process_faults.ROWS, *real_shapes.ROWS, *resources.ROWS)
FAKE_ROWS: tuple[Row, ...] = (
    *answer_faults.ROWS,
    *deadline.ROWS,
    *batch_shapes.ROWS,
    *gateway_faults.ROWS,
)
ROWS: tuple[Row, ...] = (*FAKE_ROWS, *REAL_ROWS)


class UnknownRow(ValueError):
    """A name that no row has, and no group of rows."""


def choose(names: Sequence[str], *, is_quick: bool) -> list[Row]:
    """Return the rows with these names, or of these engines (`real`, `fake`); none: all of them.

    `is_quick` leaves out what is not. Raises UnknownRow.
    """
    known = {row.name for row in ROWS} | {row.engine for row in ROWS}
    if unknown := sorted(set(names) - known):
        raise UnknownRow(f"no row is called {', '.join(unknown)}: see --list")
    chosen = [row for row in ROWS if not names or {row.name, row.engine} & set(names)]
    return [row for row in chosen if row.is_quick or not is_quick]
