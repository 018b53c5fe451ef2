"""Owns the question whether a running engine hangs: a pure judge, and the loop that feeds it.

It kills nothing: it returns why. vLLM's routes keep on answering while its core hangs, so progress
is the only honest sign, and only while there is work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskGroup

from launcher.engine_port import ask_status, fetch_text, post
from launcher.engines.base import Counters, EnginePlan, Question

log = logging.getLogger(__name__)

# A busy server answers late; a late answer says nothing.
METRICS_TIMEOUT_S = 10.0
# A hang shows in as many looks, whatever the clock says.
MIN_LOOKS = 4
# A hung engine of 0.32 used 0.3 of a core, polling; one at work uses all that it gets.
COMPUTING_CORES = 0.7
# A step of 4,096 tokens of a model that is too large for the processor lasts as long.
COMPUTING_FACTOR = 4


@dataclass(frozen=True)
class Patience:
    """How often to look, and how long without progress or any answer is a hang."""

    interval_s: float
    stall_s: float
    silent_s: float
    # How often an engine that makes no step is asked for a token; 0: never.
    canary_s: float

    @property
    def max_gap_s(self) -> float:
        """Looks further apart: it was us, or the machine, that stood still."""
        return 2 * (self.interval_s + METRICS_TIMEOUT_S)


class Judge:
    """Turns what was seen, and when, into a verdict. Times are of one clock, in seconds."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._begun_at = self._looked_at = self._answered_at = now
        self._last: Counters | None = None
        self._cpu_s = 0.0
        self._still_since = now
        self._still_cpu_s = 0.0
        self._still_looks = 0
        # Of our own, waiting for its answer.
        self.has_canary = False

    def look(self, now: float) -> None:
        """Note that we look; after a gap everything seen before it counts for nothing."""
        if now - self._looked_at > self._patience.max_gap_s:
            self._answered_at = now
            self._last = None
        self._looked_at = now

    def note_answer(self, now: float) -> None:
        """Note an answer of any kind, by any route."""
        self._answered_at = now

    def note_counters(self, counters: Counters, now: float, cpu_s: float = 0.0) -> None:
        """Note what the engine has counted, and the processor's time that it has used."""
        self._cpu_s = cpu_s
        # vLLM counts a request once a step was made with it: one that hangs in the first step
        # after a rest is seen by nobody but who sent it.
        counters = replace(counters, in_flight=max(counters.in_flight, int(self.has_canary)))
        last, self._last = self._last, counters
        has_stood_still = (
            last is not None and last.in_flight > 0 and counters.progress == last.progress
        )
        if counters.in_flight == 0 or not has_stood_still:
            self._still_since = now
            self._still_cpu_s = cpu_s
            self._still_looks = 0
        self._still_looks += 1

    def makes_no_step(self, now: float) -> bool:
        """Whether a token says more than the counters: it is idle, or has long stood still.

        vLLM 0.10 counts its requests only in a step that gives an answer: when all of them were
        given up at once it goes on telling them, and only a further request puts that right.
        """
        if self._last is None:
            return False
        return self._last.in_flight == 0 or now - self._still_since >= self._patience.canary_s

    def verdict(self, now: float) -> str | None:
        """Return why the engine counts as hung, or None."""
        silent_s = now - self._answered_at
        if silent_s >= self._patience.silent_s:
            return f"hung: no answer on its port for {silent_s:.0f} s"
        if self._last is None or self._last.in_flight == 0 or self._still_looks < MIN_LOOKS:
            return None
        still_s = now - self._still_since
        if still_s < self._stall_limit_s(now):
            return None
        requests = "1 request" if self._last.in_flight == 1 else f"{self._last.in_flight} requests"
        return f"hung: {requests} in flight, no progress for {still_s:.0f} s"

    def _stall_limit_s(self, now: float) -> float:
        limit_s = self._patience.stall_s
        if self._cpu_s - self._still_cpu_s >= COMPUTING_CORES * (now - self._still_since) > 0:
            return COMPUTING_FACTOR * limit_s
        # Kernels compile when a shape is first met: the first steps may take a minute.
        return limit_s if now - self._begun_at >= 2 * limit_s else 2 * limit_s


def _no_cpu_s() -> float:
    return 0.0


class Watchdog:
    """Looks at one running engine."""

    def __init__(
        self, plan: EnginePlan, patience: Patience, cpu_s: Callable[[], float] = _no_cpu_s
    ) -> None:
        self._plan = plan
        self._cpu_s = cpu_s
        self._patience = patience
        self._judge = Judge(patience, anyio.current_time())
        self._canary = plan.canary if patience.canary_s > 0 else None
        # Others ask first: whoever waits for the engine begins when it is ready.
        self._next_canary_at = anyio.current_time() + patience.canary_s
        self._has_told = False

    async def watch(self) -> str:
        """Watch a healthy engine until it counts as hung; return why."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask_health)
            verdict = await self._look_until_verdict(tasks)
            tasks.cancel_scope.cancel()
        return verdict

    async def _look_until_verdict(self, tasks: TaskGroup) -> str:
        while (verdict := await self._look()) is None:
            if self._canary is not None and self._is_canary_due():
                tasks.start_soon(self._send_canary, self._canary)
            await anyio.sleep(self._patience.interval_s)
        return verdict

    async def _look(self) -> str | None:
        self._judge.look(anyio.current_time())
        plan = self._plan
        limit_s = min(METRICS_TIMEOUT_S, self._patience.silent_s)
        status, text = await fetch_text(plan.base_url, plan.metrics_path, limit_s)
        now = anyio.current_time()
        if status is not None:
            if not plan.is_health_proof:
                self._judge.note_answer(now)
            self._note_page(plan.read_counters(text) if status == 200 else None, now)
        return self._judge.verdict(now)

    def _note_page(self, counters: Counters | None, now: float) -> None:
        if counters is not None:
            self._judge.note_counters(counters, now, self._cpu_s())
        elif not self._has_told:
            self._has_told = True
            log.warning("the engine does not count its steps: watching only whether it answers")

    async def _ask_health(self) -> None:
        """Ask one question at a time: a server that is slow, not silent, gets to answer it."""
        plan, patience = self._plan, self._patience
        while True:
            status = await ask_status(plan.base_url, plan.health_path, patience.silent_s)
            if status == 200 or (status is not None and not plan.is_health_proof):
                self._judge.note_answer(anyio.current_time())
            await anyio.sleep(patience.interval_s)

    def _is_canary_due(self) -> bool:
        now = anyio.current_time()
        is_due = now >= self._next_canary_at and not self._judge.has_canary
        return is_due and self._judge.makes_no_step(now)

    async def _send_canary(self, question: Question) -> None:
        self._judge.has_canary = True
        url, limit_s = self._plan.base_url, 4 * self._patience.stall_s
        status = await post(url, question.path, question.body, question.headers, limit_s)
        self._judge.has_canary = False
        self._next_canary_at = anyio.current_time() + self._patience.canary_s
        if status is not None and 400 <= status < 500:
            log.warning("the engine answers the watchdog with %d: it is asked no more", status)
            self._canary = None
