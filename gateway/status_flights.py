"""Owns the record of batches: those in flight, as they fill, and the last ones. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.answering import Task
from gateway.batch import Batch, Outcome

NUM_LAST = 20
# More requests at once than a person looks at: a batch service has one.
MAX_SHOWN = 20
MAX_ERROR_CHARS = 300


@dataclass(slots=True, eq=False)
class Flight:
    """One batch under way; `deadline` is on the clock of the event loop."""

    request_id: str
    num_prompts: int
    num_blank: int
    deadline: float
    is_trial: bool
    began_at: float = field(default_factory=time.time)
    num_under_way: int = 0
    num_whole: int = 0
    num_done: int = 0
    characters: int = 0
    tokens: int = 0

    def told(self, now: float) -> dict[str, Any]:
        """Return it for `/info`; `now` is on the clock of the event loop."""
        failed = max(self.num_done - self.num_whole, 0)
        over = self.num_blank + self.num_whole + failed + self.num_under_way
        return {
            "request_id": self.request_id,
            "is_trial": self.is_trial,
            "began_at": round(self.began_at, 3),
            "deadline_at": round(time.time() + self.deadline - now, 1),
            "prompts": self.num_prompts,
            "blank": self.num_blank,
            "whole": self.num_whole,
            "failed": failed,
            "under_way": self.num_under_way,
            "waiting": max(self.num_prompts - over, 0),
            "characters": self.characters,
            "tokens": self.tokens,
        }


class Flights:
    """All batches of one gateway."""

    def __init__(self) -> None:
        self.in_flight: list[Flight] = []
        self._last: deque[dict[str, Any]] = deque(maxlen=NUM_LAST)

    def open(self, tasks: Sequence[Task], deadline: float, *, is_trial: bool) -> Flight:
        """Take note of a batch that begins."""
        flight = Flight(
            request_id=tasks[0].request_id.rpartition("-")[0] if tasks else "",
            num_prompts=len(tasks),
            num_blank=sum(1 for task in tasks if not task.prompt.strip()),
            deadline=deadline,
            is_trial=is_trial,
        )
        self.in_flight.append(flight)
        return flight

    def close(self, flight: Flight, batch: Batch | None) -> None:
        """Take note of its end; `batch` is None when it was abandoned: its client left."""
        self.in_flight.remove(flight)
        self._last.append(_record(flight, batch))

    def hasten(self, deadline: float) -> None:
        """Take note that no batch goes on for longer."""
        for flight in self.in_flight:
            flight.deadline = min(flight.deadline, deadline)

    def told(self, now: float) -> dict[str, Any]:
        """Return them for `/info`, the last one first."""
        return {
            "num_in_flight": len(self.in_flight),
            "in_flight": [flight.told(now) for flight in self.in_flight[:MAX_SHOWN]],
            "last": list(reversed(self._last)),
        }


def _record(flight: Flight, batch: Batch | None) -> dict[str, Any]:
    counts = {Outcome.WHOLE.value: flight.num_whole} if batch is None else batch.counts()
    error = str(batch.errors[min(batch.errors)]) if batch and batch.errors else ""
    return {
        "request_id": flight.request_id,
        "is_trial": flight.is_trial,
        "began_at": round(flight.began_at, 3),
        "seconds": round(time.time() - flight.began_at, 3),
        "prompts": flight.num_prompts,
        "counts": counts,
        "characters": flight.characters,
        "tokens": flight.tokens,
        "is_cut": batch is not None and batch.is_cut,
        "is_abandoned": batch is None,
        "error": error[:MAX_ERROR_CHARS],
    }
