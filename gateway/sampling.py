"""Owns the sampling parameters of one completion: names, ranges, how a request overrides them."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import InvalidRequest

MAX_STOP_STRINGS = 16


@dataclass(frozen=True, slots=True)
class Sampling:
    """Everything that decides how the engine samples; always sent in full.

    An engine fills what is left out from the model's generation_config.json, so that the same
    request would mean something else with another model.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    frequency_penalty: float
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A closed interval, or one that leaves out its lower end."""

    low: float
    high: float
    is_low_open: bool = False
    is_integer: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a finite value lies inside."""
        above = value > self.low if self.is_low_open else value >= self.low
        return above and value <= self.high

    def __str__(self) -> str:
        kind = "an integer" if self.is_integer else "a number"
        bracket = "(" if self.is_low_open else "["
        return f"{kind} in {bracket}{self.low:g}, {self.high:g}]"


# The bounds of vLLM's SamplingParams, which the other engines share or exceed.
RANGES: dict[str, Range] = {
    "max_new_tokens": Range(1, 131072, is_integer=True),
    "temperature": Range(0, 2),
    "top_p": Range(0, 1, is_low_open=True),
    "top_k": Range(-1, 1_000_000, is_integer=True),
    "repetition_penalty": Range(0, 2, is_low_open=True),
    "frequency_penalty": Range(-2, 2),
}


def override(defaults: Sampling, fields: dict[str, Any]) -> Sampling:
    """Apply a request's own sampling fields; None means unset.

    Raises InvalidRequest naming the field, the value and the rule.
    """
    changes: dict[str, Any] = {}
    for name, limits in RANGES.items():
        value = fields.get(name)
        if value is not None:
            changes[name] = _number(name, value, limits)
    if fields.get("stop") is not None:
        changes["stop"] = _stop(fields["stop"])
    return replace(defaults, **changes) if changes else defaults


def _number(name: str, value: object, limits: Range) -> float | int:
    # bool is an int in Python; `"temperature": true` is a mistake, not 1.0.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not _is_finite(value) or not limits.holds(value):  # type: ignore[arg-type]
        raise InvalidRequest(f"{name} must be {limits}, got {_shown(value)}")
    if limits.is_integer:
        if value != int(value):  # type: ignore[call-overload]
            raise InvalidRequest(f"{name} must be {limits}, got {_shown(value)}")
        return int(value)  # type: ignore[call-overload,no-any-return]
    return float(value)  # type: ignore[arg-type]


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _stop(value: object) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(s, str) and s for s in strings):
        raise InvalidRequest(
            f"stop must be a non-empty string or a list of such, got {_shown(value)}"
        )
    if len(strings) > MAX_STOP_STRINGS:
        raise InvalidRequest(
            f"stop must hold at most {MAX_STOP_STRINGS} strings, got {len(strings)}"
        )
    return tuple(strings)


def _shown(value: object) -> str:
    # reprlib: the whole value may be megabytes of lists.
    text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
