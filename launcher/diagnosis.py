"""Owns the search for a failure's cause in an engine's whole output, of which only a tail is kept.

It knows no engine's words: those are read by the function that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from launcher.engines.base import Symptom, SymptomKind

# One failure shows up as several errors: what is told most exactly counts.
_PRECEDENCE: tuple[SymptomKind, ...] = ("final", "context", "memory", "graphs", "other")


class Diagnosis:
    """Reads lines as they come and remembers what they told."""

    def __init__(self, read_symptom: Callable[[str], Symptom | None]) -> None:
        self._read_symptom = read_symptom
        self._is_capturing = False
        self._found: dict[SymptomKind, Symptom] = {}

    def feed(self, lines: Iterable[str]) -> None:
        """Read some more lines."""
        for line in lines:
            symptom = self._read_symptom(line)
            if symptom is not None:
                self._note(symptom)

    @property
    def symptom(self) -> Symptom | None:
        """What was most probably the cause."""
        return next((self._found[kind] for kind in _PRECEDENCE if kind in self._found), None)

    def _note(self, symptom: Symptom) -> None:
        if symptom.kind == "capturing":
            self._is_capturing = True
            return
        if symptom.kind == "graphs" and not self._is_capturing:
            symptom = replace(symptom, kind="memory")
        # An error of no known kind may have been survived; the one that came last was not.
        if symptom.kind == "other" or symptom.kind not in self._found:
            self._found[symptom.kind] = symptom
