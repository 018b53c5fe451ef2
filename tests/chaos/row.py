"""A row of the fault matrix: a fault, the engine that shows it, and the function that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.real import RealService
from tests.chaos.result import Engine, Run


@dataclass(frozen=True)
class Row:
    """One row; `run` does it once and raises AssertionError when the fault did not hit."""

    name: str
    fault: str
    engine: Engine
    run: Callable[[RealService], Run]
    is_quick: bool = False
    is_repeated: bool = False
    """A process fault: run several times, because what dies when is a matter of chance."""


def fake_row(name: str, fault: str, run: Callable[[], Run], *, is_quick: bool = True) -> Row:
    """Return a row that brings its own fake engine and gateway."""
    return Row(name, fault, "fake", lambda _: run(), is_quick=is_quick)
