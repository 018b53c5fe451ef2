"""Owns the look at batches from outside: a fan-out and answers that count what goes through them.

It decides nothing; what it costs a prompt is some additions. Nothing runs while nobody looks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import anyio

from gateway.answering import Task
from gateway.batch import Batch, Outcome
from gateway.fanout import Answers, Fanout, Gate
from gateway.metrics import Metrics
from gateway.status_flights import Flight, Flights
from gateway.status_history import History
from gateway.status_trial import TRIAL, TrialDraft
from gateway.streaming import Draft

# A batch's workers inherit its context: what they write belongs to that batch.
_FLIGHT: ContextVar[Flight] = ContextVar("flight")


class Watch:
    """What is known of the batches of one gateway."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Known from the start, so that the first of its kind is an increase to who looks at rates.
        for outcome in Outcome:
            metrics.answers.labels(outcome.value)
        self.flights = Flights()
        self.history = History(time.monotonic)
        self.drafts: dict[Draft, float] = {}
        """The answers that are being written, and since when."""

    def note(self, flight: Flight, started: float, num_whole: int, characters: int) -> None:
        """Count whole answers of one call, which was begun at `started`."""
        tokens = self._metrics.take_tokens()
        flight.num_whole += num_whole
        flight.characters += characters
        flight.tokens += tokens
        self._metrics.count_characters(characters)
        self.history.add(started, characters, tokens)

    def note_partial(self, flight: Flight, batch: Batch) -> None:
        """Count what the deadline or the engine's end left of answers."""
        ends = zip(batch.answers, batch.outcomes, strict=True)
        left = sum(len(answer) for answer, outcome in ends if outcome is Outcome.PARTIAL)
        if left:
            flight.characters += left
            self._metrics.count_characters(left)
            # Once for all: the client waits, and each would walk through all seconds of the batch.
            elapsed_s = time.time() - flight.began_at
            self.history.add(self.history.clock() - elapsed_s, left, 0)

    def batches(self) -> dict[str, Any]:
        """Return the batches for `/info`."""
        return self.flights.told(anyio.current_time())

    def rates(self) -> dict[str, Any]:
        """Return the rates for `/info`."""
        # By the second in which they were begun: a batch begins hundreds of them together.
        writing: dict[float, int] = {}
        for draft, started in self.drafts.items():
            begun = math.floor(started)
            writing[begun] = writing.get(begun, 0) + len(draft.text)
        return {"interval_s": 1, **self.history.series(writing)}


class WatchedAnswers:
    """Answers prompts as another does, and takes note."""

    def __init__(self, answers: Answers, watch: Watch) -> None:
        self._answers = answers
        self._watch = watch

    @property
    def prompts_per_call(self) -> int:
        """How many may share a call; one that is tried does not: its completion is to be seen."""
        return 1 if TRIAL.get() else self._answers.prompts_per_call

    @prompts_per_call.setter
    def prompts_per_call(self, value: int) -> None:
        self._answers.prompts_per_call = value

    async def answer(self, task: Task, draft: Draft) -> str:
        """Return the answer; `draft` holds it as far as it has come."""
        flight, started = _FLIGHT.get(), time.monotonic()
        flight.num_under_way += 1
        self._watch.drafts[draft] = started
        try:
            if TRIAL.get() is None:
                answer = await self._answers.answer(task, draft)
            else:
                answer = await self._try(task, draft, started)
        finally:
            flight.num_under_way -= 1
            del self._watch.drafts[draft]
        self._watch.note(flight, started, 1, len(answer))
        return answer

    async def _try(self, task: Task, draft: Draft, started: float) -> str:
        trial, own = TRIAL.get(), TrialDraft(draft)
        assert trial is not None
        try:
            return await self._answers.answer(task, own)
        finally:
            trial.note(int(task.request_id.rpartition("-")[2]), started, own)

    async def answer_group(self, tasks: Sequence[Task]) -> list[str | None]:
        """Return the answers of prompts that share a call; None for one that is not whole."""
        flight, started = _FLIGHT.get(), time.monotonic()
        flight.num_under_way += len(tasks)
        try:
            answers = await self._answers.answer_group(tasks)
        finally:
            flight.num_under_way -= len(tasks)
        whole = [len(answer) for answer in answers if answer is not None]
        self._watch.note(flight, started, len(whole), sum(whole))
        return answers

    def partial(self, task: Task, draft: Draft) -> str:
        """Return the answer as far as it has come."""
        return self._answers.partial(task, draft)


class WatchedFanout(Fanout):
    """Runs batches as any fan-out, and takes note."""

    def __init__(
        self,
        answers: Answers,
        gate: Gate,
        metrics: Metrics,
        watch: Watch,
        *,
        concurrency: int,
        max_attempts: int,
    ) -> None:
        super().__init__(
            WatchedAnswers(answers, watch),
            gate,
            metrics,
            concurrency=concurrency,
            max_attempts=max_attempts,
        )
        self.watch = watch

    async def run(
        self,
        tasks: Sequence[Task],
        deadline: float,
        on_done: Callable[[], None] = lambda: None,
    ) -> Batch:
        """Answer all tasks, as `Fanout.run` does."""
        flights = self.watch.flights
        flight = flights.open(tasks, deadline, is_trial=TRIAL.get() is not None)
        token = _FLIGHT.set(flight)
        batch = None

        def note_done() -> None:
            flight.num_done += 1
            on_done()

        try:
            batch = await super().run(tasks, deadline, note_done)
            self.watch.note_partial(flight, batch)
        finally:
            _FLIGHT.reset(token)
            flights.close(flight, batch)
        return batch

    def hasten(self, deadline: float) -> None:
        """Bring the deadline of all batches forward."""
        super().hasten(deadline)
        self.watch.flights.hasten(deadline)
