"""What a row of the fault matrix comes to. Must not run or print anything.

Lost: an answer that is missing or empty, or only a part, although the prompt could be answered
inside the deadline; rows that let prompts go unanswered say which. Out of order: an answer that is
not this prompt's. Late: a reply later than a second after PREDICT_DEADLINE_S, or none.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Engine = Literal["real", "fake", "none"]
# The reply leaves within a second of the deadline.
REPLY_S = 1.0


@dataclass(frozen=True)
class Run:
    """One run of a row. `recovery_s` counts from the fault to a service that is ready again."""

    prompts: int
    lost: int = 0
    out_of_order: int = 0
    late: int = 0
    recovery_s: float | None = None
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether every answer came, in its place and in time."""
        return not (self.lost or self.out_of_order or self.late)

    def __add__(self, other: Run) -> Run:
        """Join two batches of one run; the first one's recovery and note stay."""
        return Run(
            self.prompts + other.prompts,
            self.lost + other.lost,
            self.out_of_order + other.out_of_order,
            self.late + other.late,
            self.recovery_s,
            self.note or other.note,
        )


@dataclass(frozen=True)
class Result:
    """All runs of one row; `error` says why one could not be run."""

    name: str
    fault: str
    engine: Engine
    runs: tuple[Run, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether the row was run, and lost nothing."""
        return not self.error and bool(self.runs) and all(run.is_good for run in self.runs)

    @property
    def recoveries_s(self) -> list[float]:
        """The recovery times that were measured."""
        return [run.recovery_s for run in self.runs if run.recovery_s is not None]

    @property
    def recovery(self) -> str:
        """Median and longest recovery, in seconds."""
        seconds = self.recoveries_s
        return f"{statistics.median(seconds):.1f} / {max(seconds):.1f}" if seconds else ""

    @property
    def note(self) -> str:
        """What the runs had to say, each thing once, and the error."""
        notes = [run.note for run in self.runs] + [self.error and f"NOT DONE: {self.error}"]
        return "; ".join(dict.fromkeys(note for note in notes if note))

    def total(self, name: str) -> int:
        """Sum a count over the runs."""
        return sum(getattr(run, name) for run in self.runs)

    @classmethod
    def of_dict(cls, told: Mapping[str, Any]) -> Result:
        """Return what `to_dict` was made of; raises KeyError or TypeError when it was not."""
        fields = {name: told[name] for name in ("name", "fault", "engine", "error", "seconds")}
        return cls(**fields, runs=tuple(Run(**run) for run in told["runs"]))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, with the sums."""
        names = ("prompts", "lost", "out_of_order", "late")
        return {
            **asdict(self),
            "is_good": self.is_good,
            "total": {name: self.total(name) for name in names},
        }
