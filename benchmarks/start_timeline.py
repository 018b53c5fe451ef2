"""Owns following one start: when supervisord ran, what the engine told, when `GET /` said 200."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from launcher.log_tail import LineSplitter
from launcher.start_phases import StartPhases
from tests.e2e.stack import Stack

POLL_S = 0.02
# Far beyond any evaluator's: a start that takes too long is to be measured, too.
LIMIT_S = 600.0
_WARMUP = re.compile(r"^evalgate_warmup_seconds(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
# Whose time it is: everything but these is the engine's.
BEFORE, LOOK, WAVE = "supervisord and guardian", "gateway's look", "warm-up wave"
OURS = (BEFORE, LOOK)


def measure(stack: Stack) -> dict[str, float]:
    """Follow a service that is starting until it is warm; return the seconds of each phase."""
    _wait(stack, lambda: _is_supervisord(stack))
    begun = time.time()
    _wait(stack, lambda: _started_at(stack) > 0)
    phases = StartPhases(_started_at(stack))
    log = _Follower(stack.folder / "run" / "logs" / "engine.log")

    def is_warm() -> bool:
        phases.feed(log.lines(), time.time())
        return stack.get("/")[0] == 200

    _wait(stack, is_warm)
    warm_at = time.time()
    phases.feed(log.lines(), warm_at)
    return _whole(stack, phases, begun, warm_at)


def _whole(stack: Stack, phases: StartPhases, begun: float, warm_at: float) -> dict[str, float]:
    ready_at = float(stack.engine_state()["ready_at"])
    waves = _WARMUP.findall(stack.text("/metrics"))
    wave_s = float(waves[-1]) if waves else 0.0
    return {
        BEFORE: _started_at(stack) - begun,
        **phases.seconds(ready_at),
        LOOK: warm_at - ready_at - wave_s,
        WAVE: wave_s,
    }


class _Follower:
    """Reads what is added to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._splitter = LineSplitter()

    def lines(self) -> list[str]:
        """Return the lines that have come since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(chunk)
        return self._splitter.feed(chunk)


def _is_supervisord(stack: Stack) -> bool:
    """Tell whether scripts/serve has prepared everything and become supervisord."""
    assert stack.process is not None
    with suppress(psutil.Error):
        return any("supervisord" in part for part in psutil.Process(stack.process.pid).cmdline())
    return False


def _started_at(stack: Stack) -> float:
    with suppress(OSError, ValueError):
        return float(stack.engine_state().get("started_at") or 0)
    return 0.0


def _wait(stack: Stack, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > end or stack.process is None or stack.process.poll() is not None:
            raise SystemExit(stack.console.read_text(errors="replace")[-2000:])
        time.sleep(POLL_S)  # a poll, bounded by the limit above
