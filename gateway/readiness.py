"""Owns whether the engine can be asked: starting → warming → ready ⇄ lost.

One task looks at the engine's health again and again; whoever asks `phase` gets the answer from
memory. It answers no request itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import anyio

from gateway.engine import Health
from gateway.errors import EngineNotReady, GatewayError
from gateway.metrics import Metrics
from gateway.phase import Phase

_log = logging.getLogger("gateway.lifecycle")


class Readiness:
    """The state machine; `run` drives it."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Health]],
        warm_up: Callable[[], Awaitable[None]],
        metrics: Metrics,
        *,
        interval_s: float,
        strikes: int,
    ) -> None:
        self._look = look
        self._warm_up = warm_up
        self._metrics = metrics
        self._interval_s = interval_s
        self._max_strikes = strikes
        self._strikes = 0
        self._gate = asyncio.Event()
        self._wake = asyncio.Event()
        self._is_suspected = False
        """Since the look that is under way began: what it finds is of before."""
        self.phase = Phase.STARTING
        self.since = time.time()
        """Unix time of the last change of phase."""
        self.reason = "the engine has not answered yet"
        """Why it is not ready, "" when it is."""
        self.losses = 0

    @property
    def is_ready(self) -> bool:
        """Whether `GET /` says that all is well."""
        return self.phase is Phase.READY

    async def wait_until_ready(self) -> None:
        """Block until the engine can be asked; the caller brings the deadline."""
        await self._gate.wait()

    def suspect(self) -> None:
        """Close the gate until a look finds the engine up; the next is made at once.

        The phase stays: one reset connection is not yet a lost engine. A look that gets no answer
        in time leaves the gate as it is: prompts are not spent on an engine in that state.
        """
        if self.phase is Phase.READY:
            self._is_suspected = True
            self._gate.clear()
            self._wake.set()

    async def run(self) -> None:
        """Look at the engine until cancelled."""
        while True:
            try:
                await self._step()
            except Exception:  # whoever does not look any more would tell the last phase for ever
                _log.exception("the look at the engine failed")
                self._found_down("the look at the engine failed: see the gateway's log")
            with anyio.move_on_after(self._interval_s):
                await self._wake.wait()
            self._wake.clear()

    async def _step(self) -> None:
        self._is_suspected = False
        health = await self._look()
        self._strikes = self._strikes + 1 if health is Health.UNSURE else 0
        if health is Health.UP:
            await self._found_up()
        elif health is Health.DOWN:
            self._found_down("the engine does not answer its health route")
        elif self._strikes >= self._max_strikes:
            self._found_down(f"the engine's health route timed out {self._strikes} times in a row")

    async def _found_up(self) -> None:
        if self.phase is Phase.READY:
            if not self._is_suspected:
                self._gate.set()
            return
        self._enter(Phase.WARMING, "the engine is up; completions are being tried")
        try:
            start = anyio.current_time()
            await self._warm_up()
        except EngineNotReady as exc:
            self._found_down(f"lost in the warm-up: {exc}")
        except GatewayError as exc:
            self.reason = f"the warm-up failed: {exc}"
            _log.warning("the warm-up failed, trying again: %s", exc)
        else:
            self._metrics.warmup_s.set(anyio.current_time() - start)
            self._enter(Phase.READY, "")
            self._gate.set()

    def _found_down(self, reason: str) -> None:
        self._gate.clear()
        was_ready = self.phase is Phase.READY
        if was_ready:
            self.losses += 1
            self._metrics.engine_losses.inc()
        if was_ready or self.losses:
            self._enter(Phase.LOST, reason)
        else:
            self._enter(Phase.STARTING, reason)

    def _enter(self, phase: Phase, reason: str) -> None:
        self.reason = reason
        if phase is self.phase:
            return
        elapsed_s = time.time() - self.since
        why = f": {reason}" if reason else ""
        _log.info("engine %s, was %s for %.1f s%s", phase.value, self.phase.value, elapsed_s, why)
        self.phase = phase
        self.since = time.time()
        self._metrics.set_phase(phase)
