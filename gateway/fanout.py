"""Owns one batch: how many prompts are under way, their order, the deadline, the re-queue.

It knows neither HTTP nor the engine: it is given a coroutine that answers one prompt, and a gate
that tells when the engine can be asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import anyio

from gateway.answering import Task
from gateway.errors import EngineNotReady, EngineTimeout, GatewayError
from gateway.metrics import Metrics


class Outcome(str, Enum):
    """How a prompt ended; the values are metric labels."""

    WHOLE = "whole"
    BLANK = "blank"
    """The prompt was blank: the answer is "" and the engine was not asked."""
    FAILED = "failed"
    UNFINISHED = "unfinished"
    """The deadline came first."""


class Gate(Protocol):
    """Tells when the engine can be asked."""

    async def wait_until_ready(self) -> None:
        """Block until completions are to be expected."""

    def suspect(self) -> None:
        """Take note that a call found the engine gone: ready only after a new look at it."""


@dataclass(slots=True)
class Batch:
    """The state of one batch; `answers` and `outcomes` have a place for every prompt."""

    tasks: Sequence[Task]
    answers: list[str]
    outcomes: list[Outcome]
    pending: deque[int]
    attempts: dict[int, int] = field(default_factory=dict)
    errors: dict[int, GatewayError] = field(default_factory=dict)
    started: float = 0.0
    """Seconds of the event loop's clock."""

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Batch:
        """Queue every task that has something to ask."""
        blank = [not task.prompt.strip() for task in tasks]
        return cls(
            tasks=tasks,
            answers=[""] * len(tasks),
            outcomes=[Outcome.BLANK if empty else Outcome.UNFINISHED for empty in blank],
            pending=deque(index for index, empty in enumerate(blank) if not empty),
        )

    def count(self, outcome: Outcome) -> int:
        """Count the prompts that ended so."""
        return self.outcomes.count(outcome)

    def raise_if_nothing(self) -> None:
        """Raise what went wrong when prompts were asked and not one has an answer.

        Raises the first prompt's own error, or EngineTimeout when the deadline came first.
        """
        if self.count(Outcome.FAILED) + self.count(Outcome.UNFINISHED) == 0:
            return
        if self.count(Outcome.WHOLE):
            return
        for index in sorted(self.errors):
            raise self.errors[index]
        raise EngineTimeout(
            "the deadline (PREDICT_DEADLINE_S) came before any answer "
            f"to the {len(self.tasks)} prompts"
        )


class Fanout:
    """Runs batches; the semaphore bounds the prompts under way over all of them."""

    def __init__(
        self,
        answer: Callable[[Task], Awaitable[str]],
        gate: Gate,
        metrics: Metrics,
        *,
        concurrency: int,
        max_attempts: int,
    ) -> None:
        self._answer = answer
        self._gate = gate
        self._metrics = metrics
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._semaphore = asyncio.Semaphore(concurrency)
        self._scopes: set[anyio.CancelScope] = set()
        self._latest = float("inf")

    async def run(self, tasks: Sequence[Task], deadline: float) -> Batch:
        """Answer all tasks, in order, or as many as can be until the deadline.

        `deadline` is on the event loop's clock, in seconds. Raises nothing for a prompt that
        fails: its outcome and error stand in the batch. A cancelled run cancels its calls.
        """
        batch = Batch.of(tasks)
        batch.started = anyio.current_time()
        scope = anyio.CancelScope(deadline=min(deadline, self._latest))
        self._scopes.add(scope)
        try:
            with scope:
                async with anyio.create_task_group() as workers:
                    for _ in range(min(self._concurrency, len(batch.pending))):
                        workers.start_soon(self._work, batch)
        finally:
            self._scopes.discard(scope)
        for outcome in Outcome:
            self._metrics.answers.labels(outcome.value).inc(batch.count(outcome))
        return batch

    def hasten(self, deadline: float) -> None:
        """Bring the deadline of all batches, running and to come, forward: a shutdown."""
        self._latest = deadline
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)

    async def _work(self, batch: Batch) -> None:
        while batch.pending:
            async with self._semaphore:
                await self._gate.wait_until_ready()
                # Both waits may have been long: other workers may have taken the rest.
                if batch.pending:
                    await self._take_one(batch)

    async def _take_one(self, batch: Batch) -> None:
        index = batch.pending.popleft()
        start = anyio.current_time()
        self._metrics.queue_wait_s.observe(start - batch.started)
        with self._metrics.prompts_in_flight.track_inprogress():
            try:
                batch.answers[index] = await self._answer(batch.tasks[index])
                batch.outcomes[index] = Outcome.WHOLE
            except EngineNotReady as exc:
                self._gate.suspect()
                self._requeue(batch, index, exc)
            except GatewayError as exc:
                self._fail(batch, index, exc)
        self._metrics.prompt_s.observe(anyio.current_time() - start)

    def _requeue(self, batch: Batch, index: int, exc: EngineNotReady) -> None:
        attempts = batch.attempts[index] = batch.attempts.get(index, 0) + 1
        if attempts >= self._max_attempts:
            self._fail(batch, index, exc)
            return
        self._metrics.prompts_requeued.inc()
        batch.pending.appendleft(index)

    def _fail(self, batch: Batch, index: int, exc: GatewayError) -> None:
        batch.outcomes[index] = Outcome.FAILED
        batch.errors[index] = exc
        self._metrics.errors.labels(exc.type).inc()
