"""Owns the record of the phases: when each began, how long it took, why it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from evaluator.report import PhaseReport


class Watcher(Protocol):
    """Is told what happens, while it happens."""

    def begin(self, name: str, limit_s: float | None) -> None:
        """A phase begins; work that is no phase has no limit."""

    def note(self, text: str) -> None:
        """Say something new about it."""

    def end(self, phase: PhaseReport | None) -> None:
        """It has ended; None for work that is no phase."""


@dataclass
class Phase:
    """A phase under way."""

    problem: str = ""
    seen: dict[str, int] = field(default_factory=dict)


class Phases:
    """The phases of one run, in their order; its clock starts when this is made."""

    def __init__(self, watcher: Watcher, is_interrupted: Callable[[], bool]) -> None:
        self.done: list[PhaseReport] = []
        self._watcher = watcher
        self._is_interrupted = is_interrupted
        self._start = anyio.current_time()

    @contextmanager
    def phase(self, name: str, limit_s: float, start: float | None = None) -> Iterator[Phase]:
        """Time a block as a phase, from `start` on anyio's clock; keep it however it ends."""
        start = anyio.current_time() if start is None else start
        phase = Phase()
        self._watcher.begin(name, limit_s)
        try:
            yield phase
        finally:
            done = PhaseReport(
                name=name,
                started_s=start - self._start,
                seconds=anyio.current_time() - start,
                limit_s=limit_s,
                problem="interrupted" if self._is_interrupted() else phase.problem,
                seen=phase.seen,
            )
            self.done.append(done)
            self._watcher.end(done)

    @property
    def problems(self) -> list[str]:
        """Why the submission fails; empty as long as it does not."""
        return [f"{phase.name}: {phase.problem}" for phase in self.done if phase.problem]


def describe_seen(seen: dict[str, int]) -> str:
    """Say what was seen how often, in a few words."""
    return ", ".join(f"{what} ×{count}" for what, count in seen.items())
