"""Owns in which dialect the engine is asked: that of the kind that runs, or one not refused.

The launcher may have put another kind in its place, and nobody knows what stands behind a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from gateway.completion import Completion, RequestEncoder
from gateway.dialects import dialect_of, narrower
from gateway.engine_kind import Encoder
from gateway.errors import InvalidRequest, PromptTooLong

_log = logging.getLogger("gateway.lifecycle")


class Speaking:
    """Chooses for one encoder, before each warm-up anew."""

    def __init__(self, encoder: Encoder, running_engine: Callable[[], str]) -> None:
        self._encoder = encoder
        self._running_engine = running_engine
        self._engine = ""
        self._is_agreed = False

    def begin(self) -> bool:
        """Speak as to the kind of engine that runs; True when it is not the one of last time."""
        before, self._engine = self._engine, self._running_engine()
        self._is_agreed = False
        if isinstance(self._encoder, RequestEncoder):
            self._encoder.speak(dialect_of(self._engine))
        return bool(before) and before != self._engine

    async def first(self, complete: Callable[[], Awaitable[Completion]]) -> Completion:
        """Ask; a first refusal is answered by asking with fewer fields.

        Raises what `complete` raises.
        """
        try:
            completion = await complete()
        except PromptTooLong:
            raise
        except InvalidRequest as refusal:
            if self._is_agreed or not self._narrow(refusal):
                raise
            completion = await complete()
        self._is_agreed = True
        return completion

    def _narrow(self, refusal: InvalidRequest) -> bool:
        if not isinstance(self._encoder, RequestEncoder):
            return False
        dialect = narrower(self._encoder.dialect)
        if dialect is None:
            return False
        _log.warning("the engine is asked without %s: %s", ", ".join(dialect.without), refusal)
        self._encoder.speak(dialect)
        return True
