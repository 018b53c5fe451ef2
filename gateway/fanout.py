"""Owns the run of a batch: how many prompts are under way, the deadline, who is asked again.

It knows neither HTTP nor the engine: it is given what answers one prompt, and a gate that tells
when the engine can be asked.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from gateway.answering import Task
from gateway.batch import NUM_LANES, Batch, Outcome
from gateway.errors import EngineFailure, EngineLost, EngineNotReady, GatewayError
from gateway.metrics import Metrics
from gateway.pace import Pace
from gateway.permits import Permits
from gateway.retries import GroupRefused, Retries
from gateway.streaming import Draft

_log = logging.getLogger("gateway")

# Of the time left to the deadline, what a call of several prompts may take: its answers come whole
# or not at all, and the rest is for asking one by one, which gives as much text as there is.
GROUP_SHARE = 0.25
# A batch is asked in no fewer calls, as long as it lasts: its last prompts come one by one.
MIN_CALLS = 4


class Gate(Protocol):
    """Tells when the engine can be asked."""

    async def wait_until_ready(self) -> None:
        """Block until completions are to be expected."""

    def suspect(self) -> None:
        """Take note that a call found the engine gone: ready only after a new look at it."""


class Answers(Protocol):
    """Answers prompts."""

    prompts_per_call: int
    """How many may share a call."""

    async def answer(self, task: Task, draft: Draft) -> str:
        """Return the answer; `draft` holds it as far as it has come."""

    async def answer_group(self, tasks: Sequence[Task]) -> list[str | None]:
        """Return the answers of prompts that share a call; None for one that is not whole."""

    def partial(self, task: Task, draft: Draft) -> str:
        """Return the answer as far as it has come, "" when there is none."""


class Fanout:
    """Runs batches; a semaphore bounds the prompts under way over all of them."""

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
        self._retries = Retries(max_attempts)
        self._permits = Permits(concurrency)
        self._pace = Pace()
        # Among n suspects one is found soonest by groups of √n, then one by one.
        self._widths = (concurrency, max(1, math.isqrt(concurrency)), 1)
        assert len(self._widths) == NUM_LANES
        self._scopes: set[anyio.CancelScope] = set()
        self._group_scopes: set[anyio.CancelScope] = set()
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
        batch.deadline = min(deadline, self._latest)
        scope = anyio.CancelScope(deadline=batch.deadline)
        self._scopes.add(scope)
        try:
            with scope:
                for lane, width in zip(batch.lanes, self._widths, strict=True):
                    if lane:
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
        for scope in self._group_scopes:
            scope.deadline = min(scope.deadline, _group_deadline(deadline))

    async def _run_lane(
        self, batch: Batch, lane: deque[int], width: int, on_done: Callable[[], None]
    ) -> None:
        num_workers = num_waiting = 0
        async with anyio.create_task_group() as workers:

            def begin() -> None:
                nonlocal num_workers, num_waiting
                num_workers += 1
                num_waiting += 1
                workers.start_soon(work)

            def relay() -> None:
                """Have the next one wait for permits, once this one has what it asks for."""
                nonlocal num_waiting
                num_waiting -= 1
                if lane and not num_waiting and num_workers < width:
                    begin()

            async def work() -> None:
                nonlocal num_workers, num_waiting
                while call := await self._ask_next(batch, lane, relay):
                    num_again = await self._settle(batch, *call, on_done)
                    # Prompts that shared a call had one worker; asked alone, each needs its own.
                    for _ in range(num_again - 1):
                        begin()
                    num_waiting += 1
                num_workers -= 1

            # No more than find permits: who waits for some is in the way of other batches.
            num_calls = self._permits.num_free // self._call_size(batch, lane)
            for _ in range(min(width, len(lane), max(num_calls, 1))):
                begin()

    async def _ask_next(
        self, batch: Batch, lane: deque[int], relay: Callable[[], None]
    ) -> tuple[list[int], list[GatewayError | None]] | None:
        """Ask for what is next in a lane; return the prompts and what went wrong with each.

        None when others have taken the rest meanwhile; `relay` is called before it asks, or not.
        """
        if lane:
            await self._gate.wait_until_ready()
            await self._pace.wait()
        if not lane:
            relay()
            return None
        async with self._permits.turn:
            size = self._call_size(batch, lane)
            await self._permits.collect(size)
        try:
            await self._gate.wait_until_ready()
            # Others have gone on meanwhile: there may be less to take than there was.
            limit = min(size, self._call_size(batch, lane)) if size > 1 else 1
            indices = batch.take(lane, limit) if lane else []
            self._permits.give(size - len(indices))
            size = len(indices)
            relay()
            return (indices, await self._ask(batch, indices)) if indices else None
        finally:
            self._permits.give(size)

    def _call_size(self, batch: Batch, lane: deque[int]) -> int:
        if lane is not batch.lanes[0]:
            return 1
        most = min(self._answers.prompts_per_call, self._permits.count, len(lane) // MIN_CALLS)
        return batch.num_sharing(lane, max(most, 1))

    async def _ask(self, batch: Batch, indices: list[int]) -> list[GatewayError | None]:
        """Ask once for the answers of prompts that share a call; return what went wrong."""
        start = anyio.current_time()
        for _ in indices:
            self._metrics.queue_wait_s.observe(start - batch.started)
        self._metrics.prompts_in_flight.inc(len(indices))
        try:
            if len(indices) > 1:
                return await self._ask_together(batch, indices)
            return [await self._ask_alone(batch, indices[0])]
        finally:
            self._metrics.prompts_in_flight.dec(len(indices))
            elapsed_s = anyio.current_time() - start
            for _ in indices:
                self._metrics.prompt_s.observe(elapsed_s)

    async def _ask_alone(self, batch: Batch, index: int) -> GatewayError | None:
        task = batch.tasks[index]
        try:
            batch.finish(index, await self._answers.answer(task, batch.draft(index)))
        except GatewayError as exc:
            return self._noted(exc)
        except Exception:
            return _defect()
        return None

    async def _ask_together(self, batch: Batch, indices: list[int]) -> list[GatewayError | None]:
        """Ask for several prompts in one call; those that it fails for are asked again alone."""
        tasks = [batch.tasks[index] for index in indices]
        with anyio.CancelScope(
            deadline=_group_deadline(min(batch.deadline, self._latest))
        ) as scope:
            self._group_scopes.add(scope)
            try:
                answers = await self._answers.answer_group(tasks)
                return [self._keep(batch, *pair) for pair in zip(indices, answers, strict=True)]
            except EngineNotReady as exc:
                return [self._noted(exc)] * len(indices)
            except GatewayError as exc:
                batch.alone.update(indices)
                return [GroupRefused(str(exc))] * len(indices)
            except Exception:
                batch.alone.update(indices)
                return [GroupRefused(str(_defect()))] * len(indices)
            finally:
                self._group_scopes.discard(scope)
        batch.may_group = False
        return [GroupRefused("it took too long")] * len(indices)

    def _keep(self, batch: Batch, index: int, answer: str | None) -> GatewayError | None:
        if answer is None:
            return self._noted(EngineLost("the engine broke its answer off"))
        batch.finish(index, answer)
        return None

    def _noted(self, error: GatewayError) -> GatewayError:
        if isinstance(error, EngineNotReady):
            self._gate.suspect()
        return error

    async def _settle(
        self,
        batch: Batch,
        indices: list[int],
        errors: list[GatewayError | None],
        on_done: Callable[[], None],
    ) -> int:
        """Put those prompts of a call back that are to be asked again; return how many."""
        again: list[int] = []
        delay_s = 0.0
        for index, error in zip(indices, errors, strict=True):
            if error is None or not self._is_asked_again(batch, index, error):
                on_done()
                continue
            again.append(index)
            if not isinstance(error, (EngineLost, GroupRefused)):  # the gate makes the lost wait
                delay_s = max(delay_s, self._retries.delay_s(batch, index))
        if again:
            self._metrics.prompts_requeued.inc(len(again))
        if delay_s:
            await anyio.sleep(delay_s)
        # In front: they are the oldest, and a batch's last answers decide when it is done.
        for index in reversed(again):
            batch.lane_of(index).appendleft(index)
        return len(again)

    def _is_asked_again(self, batch: Batch, index: int, error: GatewayError) -> bool:
        if self._retries.is_worth_another(batch, index, error):
            return True
        batch.fail(index, error)
        self._metrics.errors.labels(error.type).inc()
        return False


def _defect() -> EngineFailure:
    """Tell of an exception that nobody foresaw: it costs one prompt, not all that run with it."""
    _log.exception("a prompt met a defect of the gateway")
    return EngineFailure("a defect of the gateway, see its log")


def _group_deadline(deadline: float) -> float:
    """Until when a call of several prompts may take, on the event loop's clock."""
    now = anyio.current_time()
    return now + GROUP_SHARE * max(deadline - now, 0.0)
