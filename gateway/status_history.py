"""Owns how much was written in each of the last seconds: a ring, fed by answers, no timer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# A batch may take 345 s; what is older scrolls out.
SECONDS = 360
_NONE: Mapping[float, int] = MappingProxyType({})


@dataclass(slots=True)
class _Slot:
    second: int = -1
    characters: float = 0.0
    tokens: float = 0.0


class History:
    """Characters and tokens per second.

    An answer counts evenly over the seconds that it took: when hundreds are written at once and
    end together, that is when the work was done.
    """

    def __init__(self, clock: Callable[[], float], seconds: int = SECONDS) -> None:
        self.clock = clock
        self._slots = [_Slot() for _ in range(seconds)]
        self._characters = 0
        self._tokens = 0

    def add(self, started: float, characters: int, tokens: int) -> None:
        """Count an answer that was begun at `started` and is done now."""
        self._characters += characters
        self._tokens += tokens
        now = self.clock()
        # Without its like for longer answers: this one is for every prompt.
        if int(started) == (second := int(now)):
            self._count(second, characters, tokens)
            return
        for second, share in _shares(started, now, len(self._slots)):
            self._count(second, characters * share, tokens * share)

    def _count(self, second: int, characters: float, tokens: float) -> None:
        slot = self._slots[second % len(self._slots)]
        if slot.second != second:
            slot.second, slot.characters, slot.tokens = second, 0.0, 0.0
        slot.characters += characters
        slot.tokens += tokens

    def series(self, under_way: Mapping[float, int] = _NONE) -> dict[str, list[int]]:
        """Return both rates, second by second up to the last whole one.

        `under_way`: characters of unfinished answers, by when they were begun; their tokens are
        told by the ratio of those that are done.
        """
        now = self.clock()
        last = math.floor(now) - 1
        seconds = range(last - len(self._slots) + 2, last + 1)
        characters = [self._slot(second).characters for second in seconds]
        tokens = [self._slot(second).tokens for second in seconds]
        ratio = self._tokens / self._characters if self._characters else 0.0
        for started, written in under_way.items():
            for second, share in _shares(started, now, len(self._slots)):
                if seconds.start <= second < seconds.stop:
                    characters[second - seconds.start] += written * share
                    tokens[second - seconds.start] += written * share * ratio
        return {"characters": list(map(round, characters)), "tokens": list(map(round, tokens))}

    def _slot(self, second: int) -> _Slot:
        slot = self._slots[second % len(self._slots)]
        return slot if slot.second == second else _EMPTY


_EMPTY = _Slot()


def _shares(started: float, ended: float, most: int) -> Iterable[tuple[int, float]]:
    """Yield the seconds between two times with their shares of it; what is too old is left out."""
    first, last = math.floor(started), math.floor(ended)
    if first >= last:
        yield last, 1.0
        return
    took_s = ended - started
    for second in range(max(first, last - most + 1), last + 1):
        yield second, (min(second + 1, ended) - max(second, started)) / took_s
