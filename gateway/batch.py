"""Owns the record of one batch: the answers so far, how each prompt ended, what is still to ask."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from gateway.answering import Task
from gateway.errors import EngineTimeout, GatewayError
from gateway.streaming import Draft


class Outcome(str, Enum):
    """How a prompt ended; the values are metric labels."""

    WHOLE = "whole"
    PARTIAL = "partial"
    """Deadline or engine ended it early: the answer is what was written by then."""
    BLANK = "blank"
    """The prompt was blank: the answer is "" and the engine was not asked."""
    FAILED = "failed"
    UNFINISHED = "unfinished"
    """The deadline came before a word of it."""


# The lanes of a batch, by how often the engine was lost under a prompt: two engines may die by
# chance under hundreds of prompts; who was there both times is asked again with few others, then
# alone. So a prompt that kills engines is found without taking others along.
NUM_LANES = 3


@dataclass(slots=True)
class Batch:
    """The state of one batch; `answers` and `outcomes` have a place for every prompt."""

    tasks: Sequence[Task]
    answers: list[str]
    outcomes: list[Outcome]
    lanes: tuple[deque[int], ...]
    """Indices of the prompts that wait to be asked."""
    losses: dict[int, int] = field(default_factory=dict)
    """How often the engine was lost under a prompt."""
    tries: dict[int, int] = field(default_factory=dict)
    """How often a prompt was put back for any cause."""
    failures: dict[int, int] = field(default_factory=dict)
    """How often the engine answered a prompt with no completion."""
    drafts: dict[int, Draft] = field(default_factory=dict)
    """What was written of the prompts that were asked and are not whole."""
    errors: dict[int, GatewayError] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)
    """Prompts that were in a call that the engine refused: one of them may be why."""
    may_group: bool = True
    """Whether prompts may still share a call, which gives all of them or none."""
    is_cut: bool = False
    """Whether the deadline came before the last prompt was done."""
    started: float = 0.0
    deadline: float = float("inf")
    """Both in seconds of the event loop's clock."""

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Batch:
        """Queue every task that has something to ask."""
        blank = [not task.prompt.strip() for task in tasks]
        asked = [index for index, is_blank in enumerate(blank) if not is_blank]
        # The longest first: begun last, one alone would keep the batch open.
        first = deque(sorted(asked, key=lambda index: -tasks[index].sampling.max_new_tokens))
        return cls(
            tasks=tasks,
            answers=[""] * len(tasks),
            outcomes=[Outcome.BLANK if is_blank else Outcome.UNFINISHED for is_blank in blank],
            lanes=(first, *(deque[int]() for _ in range(NUM_LANES - 1))),
        )

    def draft(self, index: int) -> Draft:
        """Return the draft of a prompt's answer; the same one for every attempt."""
        return self.drafts.setdefault(index, Draft())

    def lane_of(self, index: int) -> deque[int]:
        """Return the lane in which a prompt is to be asked again."""
        return self.lanes[min(max(self.losses.get(index, 0) - 1, 0), NUM_LANES - 1)]

    def num_sharing(self, lane: deque[int], limit: int) -> int:
        """Count the prompts at a lane's head that may share a call: untried, of one sampling.

        1 for a lane without any: whoever asks finds that out.
        """
        if not lane or not self._may_share(lane[0]):
            return 1
        sampling = self.tasks[lane[0]].sampling
        head = itertools.islice(lane, limit)
        sharing = itertools.takewhile(
            lambda index: self._may_share(index) and self.tasks[index].sampling == sampling, head
        )
        return sum(1 for _ in sharing)

    def take(self, lane: deque[int], limit: int) -> list[int]:
        """Take the next prompts of a lane for one call."""
        return [lane.popleft() for _ in range(self.num_sharing(lane, limit))]

    def _may_share(self, index: int) -> bool:
        return self.may_group and index not in self.tries and index not in self.alone

    def finish(self, index: int, answer: str) -> None:
        """Note a whole answer."""
        self.answers[index] = answer
        self.outcomes[index] = Outcome.WHOLE
        self.drafts.pop(index, None)

    def fail(self, index: int, error: GatewayError) -> None:
        """Note that a prompt gets no whole answer any more."""
        self.outcomes[index] = Outcome.FAILED
        self.errors[index] = error

    def keep_partial(self, index: int, text: str) -> None:
        """Note how far an answer came; nothing is better than an error, something than nothing."""
        if text:
            self.answers[index] = text
            self.outcomes[index] = Outcome.PARTIAL

    def counts(self) -> dict[str, int]:
        """Count the prompts by outcome."""
        return {outcome.value: self.outcomes.count(outcome) for outcome in Outcome}

    def count(self, outcome: Outcome) -> int:
        """Count the prompts that ended so."""
        return self.outcomes.count(outcome)

    def raise_if_nothing(self) -> None:
        """Raise what went wrong when prompts were asked and not one has an answer.

        Raises the gravest of the prompts' own errors: that one was refused is not why others
        failed. EngineTimeout when the deadline came first for any.
        """
        if self.count(Outcome.FAILED) + self.count(Outcome.UNFINISHED) == 0:
            return
        if self.count(Outcome.WHOLE) + self.count(Outcome.PARTIAL):
            return
        if self.errors and not self.count(Outcome.UNFINISHED):
            raise max((self.errors[index] for index in sorted(self.errors)), key=_gravity)
        raise EngineTimeout(
            "the deadline (PREDICT_DEADLINE_S) came before any answer "
            f"to the {len(self.tasks)} prompts"
        )


def _gravity(error: GatewayError) -> int:
    return error.status
