"""Owns how the parts are put together: one engine client, one fan-out, one readiness."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from types import TracebackType

from gateway.admission import Admission
from gateway.answering import Answerer
from gateway.bodies import Bodies
from gateway.calibration import calibrate, is_usable
from gateway.completion import Completion
from gateway.engine import Engine
from gateway.engine_kind import encoder_for, health_paths, running_engine
from gateway.files import WANTED_FILES, affordable_connections
from gateway.metrics import Metrics
from gateway.policy import load_policy
from gateway.readiness import Readiness
from gateway.sampling import Sampling
from gateway.settings import Settings
from gateway.speaking import Speaking
from gateway.status_watch import Watch, WatchedFanout
from gateway.warmup import grouped_wave, load_prompts, warm_up

_log = logging.getLogger("gateway.lifecycle")


class Service:
    """All parts of one gateway; an asynchronous context manager that opens the connections.

    `file_limit` is how many descriptors this process may have. Raises SettingsError or
    PolicyError when a file that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, file_limit: int = WANTED_FILES) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.concurrency = min(settings.batch_concurrency, affordable_connections(file_limit))
        if self.concurrency < settings.batch_concurrency:
            _log.warning(
                "BATCH_CONCURRENCY lowered from %d to %d: the limit of open files is %d",
                settings.batch_concurrency,
                self.concurrency,
                file_limit,
            )
        encoder = encoder_for(settings)
        self._speaking = Speaking(encoder, lambda: running_engine(settings))
        self.engine = Engine(
            settings.engine_base_url,
            encoder,
            max_connections=self.concurrency,
            keepalive_s=settings.engine_keepalive_s,
            health_timeout_s=settings.health_timeout_s,
            api_key=settings.engine_api_key.get_secret_value() if settings.engine_api_key else None,
            health_paths=health_paths(settings),
        )
        self.answerer = Answerer(self.engine, load_policy(settings.policy_file), self.metrics)
        self.readiness = Readiness(
            self.engine.health,
            self._warm_up,
            self.metrics,
            interval_s=settings.health_interval_s,
            strikes=settings.health_strikes,
        )
        self.watch = Watch(self.metrics)
        self.fanout = WatchedFanout(
            self.answerer,
            self.readiness,
            self.metrics,
            self.watch,
            concurrency=self.concurrency,
            max_attempts=settings.max_engine_attempts,
        )
        self.admission = Admission(settings.max_open_prompts)
        self.bodies = Bodies(settings.max_body_bytes, settings.max_open_body_bytes)
        self._is_calibrated = False
        self._warmup_prompts = load_prompts(settings.warmup_data_path, settings.warmup_num_samples)

    async def __aenter__(self) -> Service:
        await self.engine.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.engine.__aexit__(exc_type, exc, traceback)

    async def _warm_up(self) -> None:
        if self._speaking.begin():  # another kind of engine has come in its place
            self._is_calibrated = False
            self.answerer.prompts_per_call = 1
        self.answerer.context_tokens = await self.engine.context_tokens()
        sampling = replace(
            self.settings.sampling, max_new_tokens=self.settings.warmup_max_new_tokens
        )

        async def complete(prompt: str) -> Completion:
            return await self._speaking.first(
                lambda: self.engine.complete(prompt, sampling, "warm-up")
            )

        await warm_up(
            complete,
            self._warmup_prompts,
            width=self.concurrency,
            budget_s=self.settings.warmup_budget_s,
            is_wave_first=self.settings.engine == "triton",
        )
        if self._is_calibrated:  # a lost engine is back, and batches wait for it
            return
        self.answerer.prompts_per_call = await self._prompts_per_call(sampling)
        self.metrics.prompts_per_call.set(self.answerer.prompts_per_call)
        self._is_calibrated = True

    async def _prompts_per_call(self, sampling: Sampling) -> int:
        """Return how many prompts may share a call, tried on the engine."""
        # One token each: what sharing saves is the cost of calls, and a slow engine's tokens would
        # use up the budget before the second size has had its turn.
        brief = replace(sampling, max_new_tokens=1)
        wave = partial(grouped_wave, self.engine, self._warmup_prompts, brief, self.concurrency)
        wanted = self.settings.prompts_per_call
        if wanted == 0:
            size = await calibrate(wave, self.settings.calibration_budget_s)
            _log.info("prompts per call: %d, as measured", size)
            return size
        if wanted > 1 and not await is_usable(wave, wanted, self.settings.warmup_budget_s):
            _log.warning("PROMPTS_PER_CALL=%d: this engine takes one prompt per call", wanted)
            return 1
        return wanted
