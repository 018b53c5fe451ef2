"""Owns how a setting becomes an engine's argument: the spellings that mean the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """A flag with its values, and older or newer spellings that mean the same."""

    # Named when the engine knows none of them; empty where nobody would miss it.
    setting: str
    spellings: tuple[tuple[str, ...], ...]

    def render(self, known: frozenset[str]) -> tuple[str, ...] | None:
        """Return the first spelling that the engine knows."""
        return next((spelling for spelling in self.spellings if spelling[0] in known), None)


def valued(setting: str, flag: str, value: object) -> Iterator[Option]:
    """Yield the flag with its value, unless there is none."""
    if value is not None:
        yield Option(setting, ((flag, str(value)),))


def rendered(options: Iterable[Option], known: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the arguments, and the settings that have no effect because none is known for them."""
    args: list[str] = []
    dropped: list[str] = []
    for option in options:
        spelling = option.render(known)
        args += spelling or ()
        if spelling is None and option.setting:
            dropped.append(option.setting)
    return args, dropped
