"""Owns where the time of an engine's start goes, read from its own log: pure, no I/O.

What an engine does not tell is part of the next phase that it does tell of; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Milestone:
    """The end of a phase, and how a line of the log tells of it."""

    phase: str
    line: re.Pattern[str]


# In the order of a start. Checked against vLLM 0.10 to 0.32; V0 engines have all but the second.
_MILESTONES = (
    # The first line with vLLM's own stamp: Python runs and all is imported, in the API server.
    _Milestone("imports", re.compile(r"(?:INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d")),
    # The process of the engine's core, which imports everything once more.
    _Milestone("engine process", re.compile(r"Initializing a V\d LLM engine")),
    # The processes that hold the model, where they are others.
    _Milestone("worker processes", re.compile(r"Starting to load model")),
    _Milestone("weights", re.compile(r"Loading weights took|Model loading took")),
    _Milestone("memory and warm-up", re.compile(r"init engine \(.*\) took")),
    _Milestone("server", re.compile(r"Starting vLLM (?:API )?server")),
)
_READY = "until healthy"
# Parts of "memory and warm-up" that the engine gives in seconds itself.
_PARTS = (
    ("compile", re.compile(r"torch\.compile (?:takes|took) ([\d.]+) s in total")),
    ("compile", re.compile(r"init engine \(.*\) took .*\(compilation: ([\d.]+) s\)")),
    ("graphs", re.compile(r"Graph capturing finished in ([\d.]+) secs")),
)
_WHOLE = "memory and warm-up"


class StartPhases:
    """Reads the lines of one start as they come. Times are seconds of any one clock."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._reached: dict[str, float] = {}
        self._parts: dict[str, float] = {}

    def feed(self, lines: Iterable[str], now: float) -> None:
        """Read some more lines, which came at `now`."""
        for line in lines:
            self._note_milestone(line, now)
            for part, pattern in _PARTS:
                if match := pattern.search(line):
                    # Several workers, or several models: what took longest is what was waited for.
                    self._parts[part] = max(float(match[1]), self._parts.get(part, 0.0))

    def seconds(self, ready_at: float | None = None) -> dict[str, float]:
        """Return the seconds of each phase so far, in order; their sum is the whole time.

        `ready_at`: when the engine's health route first said 200; the last phase ends there.
        """
        ends = [(each.phase, self._reached.get(each.phase)) for each in _MILESTONES]
        phases: dict[str, float] = {}
        before = self._started_at
        for phase, end in [*ends, (_READY, ready_at)]:
            if end is not None:
                phases.update(self._divided(phase, end - before))
                before = end
        return {phase: round(seconds, 2) for phase, seconds in phases.items()}

    def _note_milestone(self, line: str, now: float) -> None:
        for index, milestone in enumerate(_MILESTONES):
            if milestone.line.search(line):
                later = _MILESTONES[index + 1 :]
                # Workers tell it one after the other: the last counts, unless the start went on.
                if not any(each.phase in self._reached for each in later) and (
                    index or milestone.phase not in self._reached
                ):
                    self._reached[milestone.phase] = now

    def _divided(self, phase: str, seconds: float) -> dict[str, float]:
        """Return a phase by its parts, as far as they are told and can be true."""
        if phase != _WHOLE or sum(self._parts.values()) > seconds:
            return {phase: seconds}
        return {**self._parts, phase: seconds - sum(self._parts.values())}
