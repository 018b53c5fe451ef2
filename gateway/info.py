"""Owns what `GET /info` tells: what runs, how it is set, why it is not ready. No secret in it."""

from __future__ import annotations

import json
import logging
import platform
import re
import time
from collections import deque
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gateway.readiness import Readiness
from gateway.settings import Settings

VERSION = "0.1.0"
MAX_STATE_BYTES = 256 * 1024
_PACKAGES = ("aiohttp", "starlette", "uvicorn")
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")


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


def describe(settings: Settings, readiness: Readiness, errors: RecentErrors) -> dict[str, Any]:
    """Return everything `GET /info` tells, ready to be encoded as JSON."""
    return {
        "name": "evalgate",
        "version": VERSION,
        "phase": readiness.phase.value,
        "is_ready": readiness.is_ready,
        "reason": readiness.reason,
        "phase_since": round(readiness.since, 3),
        "phase_elapsed_s": round(time.time() - readiness.since, 3),
        "engine_losses": readiness.losses,
        "engine_url": _shown(settings.engine_base_url),
        "engine": read_engine_state(settings.engine_state_file),
        "settings": shown_settings(settings),
        "last_errors": errors.lines(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def shown_settings(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return every setting with its value and whether it was set; secrets as "***"."""
    return {
        name.upper(): {
            "value": _shown(getattr(settings, name)),
            "is_default": name not in settings.model_fields_set,
        }
        for name in type(settings).model_fields
    }


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return _URL_CREDENTIALS.sub("***@", value)
    return value


def read_engine_state(path: Path) -> dict[str, Any] | None:
    """Read the guardian's state file; None when there is none, or it is not JSON."""
    try:
        with path.open("rb") as file:
            state = json.loads(file.read(MAX_STATE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None
