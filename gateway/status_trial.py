"""Owns what is noted of a prompt that a person tries: its raw completion and its timing. No I/O."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from gateway.completion import Completion, Usage
from gateway.streaming import Draft

# What is kept for a look; the answers themselves are all there.
MAX_EXCHANGES = 200


class TrialDraft(Draft):
    """A draft that also keeps the completion; it writes to another one, which is the batch's."""

    __slots__ = ("_follower", "completion", "first_at")

    def __init__(self, follower: Draft) -> None:
        super().__init__()
        self._follower = follower
        self.completion: Completion | None = None
        self.first_at: float | None = None

    def begin(self) -> None:
        """Start a new attempt."""
        super().begin()
        self._follower.begin()

    def add(self, content: str | None, reasoning: str | None) -> None:
        """Add what one event brought; take note of when the first text came."""
        if self.first_at is None and (content or reasoning):
            self.first_at = time.monotonic()
        super().add(content, reasoning)
        self._follower.add(content, reasoning)

    def finish(self, finish_reason: str, usage: Usage) -> Completion:
        """Return this attempt as a whole completion, and keep it."""
        self.completion = super().finish(finish_reason, usage)
        return self.completion


@dataclass(slots=True)
class Trial:
    """The exchanges of one trial, by the prompt's place in it."""

    started: float = field(default_factory=time.monotonic)
    exchanges: dict[int, dict[str, Any]] = field(default_factory=dict)

    def elapsed_s(self) -> float:
        """Return the seconds since it began."""
        return round(time.monotonic() - self.started, 4)

    def note(self, index: int, started: float, draft: TrialDraft) -> None:
        """Take note of one prompt's call, which ends now."""
        if len(self.exchanges) >= MAX_EXCHANGES and index not in self.exchanges:
            return
        now = time.monotonic()
        completion = draft.completion
        first_s = None if draft.first_at is None else round(draft.first_at - started, 4)
        self.exchanges[index] = {
            # None where answers come whole (STREAM_ANSWERS=0): nothing follows their text.
            "raw": completion.text if completion else draft.text or None,
            "finish_reason": completion.finish_reason if completion else None,
            "prompt_tokens": completion.prompt_tokens if completion else None,
            "completion_tokens": completion.completion_tokens if completion else None,
            "queued_s": round(started - self.started, 4),
            "first_text_s": first_s,
            "seconds": round(now - started, 4),
        }


TRIAL: ContextVar[Trial | None] = ContextVar("trial", default=None)
"""The trial that the current request is."""
