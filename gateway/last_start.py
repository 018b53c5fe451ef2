"""Owns what a start took the last time: a small file beside the engine's state file.

It tells whoever waits for the next start what to expect. It never raises: nothing depends on it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

_log = logging.getLogger("gateway")
NAME = "last-start.json"
WARM_UP = "warm-up"
MAX_BYTES = 16 * 1024


class LastStart:
    """The seconds of each phase of the last start that came to its end, by configuration."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._kept = self._read()

    def expected(self, engine: dict[str, Any] | None) -> dict[str, float] | None:
        """Return the phases of the last start of the same configuration, in order."""
        configuration = (engine or {}).get("configuration")
        if not configuration or self._kept.get("configuration") != configuration:
            return None
        phases = self._kept.get("phases")
        return phases if _are_phases(phases) else None

    def keep(self, engine: dict[str, Any] | None, warmup_s: float) -> None:
        """Write down the start that has just come to its end, when its phases are known."""
        state = engine or {}
        phases = state.get("start_phases")
        if state.get("phase") != "running" or not phases or not _are_phases(phases):
            return
        self._kept = {
            "configuration": state.get("configuration"),
            "phases": {**phases, WARM_UP: round(warmup_s, 2)},
        }
        try:
            self._path.write_text(json.dumps(self._kept), encoding="utf-8")
        except (OSError, ValueError) as exc:
            _log.info("cannot write %s: %s", self._path, exc)

    def _read(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                kept = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}


def _are_phases(phases: object) -> bool:
    """Tell whether it is what we wrote: names with seconds."""
    return isinstance(phases, dict) and all(
        isinstance(seconds, (int, float)) for seconds in phases.values()
    )
