"""Owns the run of a batch: how many prompts are under way, the deadline, who is asked again.

It knows neither HTTP nor the engine: it is given what answers one prompt, and a gate that tells
when the engine can be asked.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from gateway.answering import Task
from gateway.batch import NUM_LANES, Batch, Outcome
from gateway.errors import EngineFailure, EngineLost, EngineNotReady, GatewayError
from gateway.metrics import Metrics
from gateway.streaming import Draft

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0


class Gate(Protocol):
    """Tells when the engine can be asked."""

    async def wait_until_ready(self) -> None:
        """Block until completions are to be expected."""

    def suspect(self) -> None:
        """Take note that a call found the engine gone: ready only after a new look at it."""


class Answers(Protocol):
    """Answers single prompts."""

    async def answer(self, task: Task, draft: Draft) -> str:
        """Return the answer; `draft` holds it as far as it has come."""

    def partial(self, task: Task, draft: Draft) -> str:
        """Return the answer as far as it has come, "" when there is none."""


class Fanout:
    """Runs batches; the semaphore bounds the prompts under way over all of them."""

    def __init__(
        self,
        answers: Answers,
        gate: Gate,
        metrics: Metrics,
        *,
        concurrency: int,
        max_attempts: int,
    ) -> None:
        self._answers = answers
        self._gate = gate
        self._metrics = metrics
        self._max_attempts = max_attempts
        self._semaphore = asyncio.Semaphore(concurrency)
        # Among n suspects one is found soonest by groups of √n, then one by one.
        self._widths = (concurrency, max(1, math.isqrt(concurrency)), 1)
        assert len(self._widths) == NUM_LANES
        self._scopes: set[anyio.CancelScope] = set()
        self._latest = float("inf")

    async def run(
        self,
        tasks: Sequence[Task],
        deadline: float,
        on_done: Callable[[], None] = lambda: None,
    ) -> Batch:
        """Answer all tasks, in order, or as far as can be until the deadline.

        `deadline` is on the event loop's clock, in seconds; `on_done` is called for every prompt
        that needs the engine no more. Raises nothing for a prompt that fails: its outcome and
        error stand in the batch. A cancelled run cancels its calls.
        """
        batch = Batch.of(tasks)
        batch.started = anyio.current_time()
        scope = anyio.CancelScope(deadline=min(deadline, self._latest))
        self._scopes.add(scope)
        try:
            with scope:
                for lane, width in zip(batch.lanes, self._widths, strict=True):
                    await self._run_lane(batch, lane, width, on_done)
        finally:
            self._scopes.discard(scope)
        batch.is_cut = scope.cancelled_caught
        for index, draft in batch.drafts.items():
            batch.keep_partial(index, self._answers.partial(batch.tasks[index], draft))
        for outcome in Outcome:
            self._metrics.answers.labels(outcome.value).inc(batch.count(outcome))
        return batch

    def hasten(self, deadline: float) -> None:
        """Bring the deadline of all batches, running and to come, forward: a shutdown."""
        self._latest = deadline
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)

    async def _run_lane(
        self, batch: Batch, lane: deque[int], width: int, on_done: Callable[[], None]
    ) -> None:
        async with anyio.create_task_group() as workers:
            for _ in range(min(width, len(lane))):
                workers.start_soon(self._work, batch, lane, on_done)

    async def _work(self, batch: Batch, lane: deque[int], on_done: Callable[[], None]) -> None:
        while lane:
            async with self._semaphore:
                await self._gate.wait_until_ready()
                # Both waits may have been long: other workers may have taken the rest.
                if not lane:
                    return
                index = lane.popleft()
                error = await self._ask(batch, index)
            if error is None or not self._is_worth_another(batch, index, error):
                on_done()
                continue
            self._metrics.prompts_requeued.inc()
            if not isinstance(error, EngineLost):  # the gate makes those wait
                await anyio.sleep(self._delay_s(batch, index))
            # In front: it is the oldest, and a batch's last answers decide when it is done.
            batch.lane_of(index).appendleft(index)

    async def _ask(self, batch: Batch, index: int) -> GatewayError | None:
        """Ask for one prompt's answer once; return what went wrong."""
        start = anyio.current_time()
        self._metrics.queue_wait_s.observe(start - batch.started)
        task = batch.tasks[index]
        with self._metrics.prompts_in_flight.track_inprogress():
            try:
                batch.finish(index, await self._answers.answer(task, batch.draft(index)))
            except GatewayError as exc:
                if isinstance(exc, EngineNotReady):
                    self._gate.suspect()
                return exc
            finally:
                self._metrics.prompt_s.observe(anyio.current_time() - start)
        return None

    def _is_worth_another(self, batch: Batch, index: int, error: GatewayError) -> bool:
        """Tell whether a prompt is asked again; if not, it has failed.

        Without a bound of its own only where the engine did not take it: the deadline bounds that.
        """
        batch.tries[index] = batch.tries.get(index, 0) + 1
        if isinstance(error, EngineLost):
            count = batch.losses[index] = batch.losses.get(index, 0) + 1
        elif isinstance(error, EngineNotReady):
            return True
        elif isinstance(error, EngineFailure) and error.can_pass:
            count = batch.failures[index] = batch.failures.get(index, 0) + 1
        else:
            count = self._max_attempts
        if count < self._max_attempts:
            return True
        batch.fail(index, error)
        self._metrics.errors.labels(error.type).inc()
        return False

    def _delay_s(self, batch: Batch, index: int) -> float:
        # The exponent is bounded too: a deadline may be hours away.
        doublings = min(batch.tries[index] - 1, 10)
        return min(FIRST_DELAY_S * 2.0**doublings, MAX_DELAY_S)
