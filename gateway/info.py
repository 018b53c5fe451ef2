"""Owns what `GET /info` tells: what runs, how it is set, why it is not ready. No secret in it."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections import deque
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gateway.engine_state import EngineStateFile
from gateway.last_start import LastStart
from gateway.metrics import Metrics
from gateway.readiness import Readiness
from gateway.redaction import HIDDEN, Redaction, secrets_of
from gateway.settings import Settings
from gateway.status_memory import Memory
from gateway.status_watch import Watch

VERSION = "0.1.0"
_PACKAGES = ("aiohttp", "starlette", "uvicorn")


class RecentErrors(logging.Handler):
    """Keeps the last warnings and errors of the gateway's log."""

    def __init__(self, capacity: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[dict[str, Any]] = deque(maxlen=capacity)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        line = {"time": record.created, "level": record.levelname, "message": record.getMessage()}
        self._lines.append(line)

    def lines(self) -> list[dict[str, Any]]:
        """Return them, oldest first."""
        return list(self._lines)


class Info:
    """Everything that is told of one gateway, ready to be encoded as JSON."""

    def __init__(
        self, settings: Settings, readiness: Readiness, errors: RecentErrors, watch: Watch
    ) -> None:
        self._settings = settings
        self._readiness = readiness
        self._errors = errors
        self._watch = watch
        self._redaction = redaction_for(settings)
        self._engine = EngineStateFile(settings.engine_state_file, self._redaction)
        self._last_start = LastStart(settings.engine_state_file.parent)
        self._memory = Memory()
        self._started_at = round(time.time(), 3)
        self._fixed = {
            "settings": shown_settings(settings, self._redaction),
            "python": platform.python_version(),
            "packages": _package_versions(),
        }

    def describe(self, metrics: Metrics) -> dict[str, Any]:
        """Return all of it as it is now; without a call to anyone, in about a millisecond."""
        readiness, engine = self._readiness, self._engine.state()
        now = time.time()
        return {
            "name": "evalgate",
            "version": VERSION,
            "time": round(now, 3),
            "started_at": self._started_at,
            "phase": readiness.phase.value,
            "is_ready": readiness.is_ready,
            "reason": self._redaction.hide(readiness.reason),
            "phase_since": round(readiness.since, 3),
            "phase_elapsed_s": round(now - readiness.since, 1),
            "engine_losses": readiness.losses,
            "engine_url": self._redaction.hide(self._settings.engine_base_url),
            "engine": engine,
            "start": self._start(engine),
            "batches": self._redaction.shown(self._watch.batches()),
            "rates": self._watch.rates(),
            "latency": metrics.latencies(),
            "memory": self._memory.told(self._engine.pids()),
            "last_errors": self._redaction.shown(self._errors.lines()),
            **self._fixed,
        }

    def keep_start(self, metrics: Metrics) -> None:
        """Remember what this start took, for whoever waits for the next."""
        [warmup] = metrics.warmup_s.collect()
        self._last_start.keep(self._engine.state(), warmup.samples[0].value)

    def _start(self, engine: dict[str, Any] | None) -> dict[str, Any]:
        state = engine or {}
        return {
            # A series of failed starts counts from its first: that is when the evaluator began.
            "began_at": state.get("series_started_at") or self._started_at,
            "budget_s": self._settings.health_budget_s,
            "warmup_budget_s": self._settings.warmup_budget_s,
            "expected": self._last_start.expected(engine),
        }


def redaction_for(settings: Settings) -> Redaction:
    """Return what hides this process's secrets."""
    key = settings.engine_api_key
    own = [key.get_secret_value()] if key else []
    return Redaction([*own, *secrets_of({**os.environ, "ENGINE_URL": settings.engine_url})])


def shown_settings(settings: Settings, redaction: Redaction) -> dict[str, dict[str, Any]]:
    """Return every setting with its value and whether it was set; secrets as "***"."""
    return {
        name.upper(): {
            "value": _shown(getattr(settings, name), redaction),
            "is_default": name not in settings.model_fields_set,
        }
        for name in type(settings).model_fields
    }


def _shown(value: Any, redaction: Redaction) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    return redaction.shown(str(value) if isinstance(value, Path) else value)


@cache
def _package_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _PACKAGES}
