"""Owns which configuration is tried after a failed start: pure, from what failed and how.

A rung changes only what the failure asks for, as far as the engine told it; a blind one changes all
that saves memory. It starts nothing and knows no engine's flags.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from launcher.engines.base import Capacity, Symptom, SymptomKind

# Steps that are kept to be shown: a machine may try for months.
MAX_STEPS = 20
_LEAST_SHARE = 0.1


class Rung(msgspec.Struct, frozen=True, omit_defaults=True):
    """A configuration: its name, and what it changes of the one that was asked for."""

    name: str = "as configured"
    is_eager: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    memory_share: float | None = None
    cpu_kv_cache_gib: int | None = None
    is_transformers: bool = False
    # Another engine instead of the one that was asked for.
    engine: str = ""

    def __str__(self) -> str:
        """Name and changes, for people."""
        changes = [
            "eager" if self.is_eager and self.name != "eager" else "",
            f"context {self.max_model_len}" if self.max_model_len else "",
            f"{self.max_num_seqs} sequences" if self.max_num_seqs else "",
            f"{self.memory_share:g} of the memory" if self.memory_share else "",
            f"KV cache {self.cpu_kv_cache_gib} GiB" if self.cpu_kv_cache_gib else "",
        ]
        told = ", ".join(change for change in changes if change)
        return f"{self.name} ({told})" if told else self.name


AS_CONFIGURED = Rung()
# Another engine altogether: slower, and better than nothing.
FALLBACK = Rung(name="transformers serve", engine="transformers")


class Step(msgspec.Struct, frozen=True):
    """A start that failed: on which rung, why, when, after how long."""

    rung: str
    reason: str
    at: float
    lived_s: float


@dataclass(frozen=True)
class Spent:
    """The time that a series of starts has taken, and what it may take; a budget of 0 is none."""

    used_s: float
    # By the start that failed last.
    lived_s: float
    budget_s: float

    @property
    def is_last_chance(self) -> bool:
        """Whether a second start as long as the last would come too late."""
        return self.budget_s > 0 and self.budget_s - self.used_s < 2 * self.lived_s


@dataclass(frozen=True)
class _Limits:
    """What a rung gives at most when the engine has not told what would do."""

    max_model_len: int
    max_num_seqs: int
    less_share: float


# In the order of the climb. 4,096 tokens hold every question of an evaluation with its answer.
_LIMITS = {
    "smaller": _Limits(max_model_len=4096, max_num_seqs=64, less_share=0.1),
    "smallest": _Limits(max_model_len=2048, max_num_seqs=16, less_share=0.25),
}
_ORDER = ("as configured", "eager", *_LIMITS, "transformers", FALLBACK.name)
# Which rungs can cure what: another implementation of the model needs no less memory.
_CURES: dict[SymptomKind, tuple[str, ...]] = {
    "context": ("smaller", "smallest", FALLBACK.name),
    "memory": ("smaller", "smallest", FALLBACK.name),
    "graphs": ("eager", "smaller", "smallest", FALLBACK.name),
}
_CURES_OF_THE_UNKNOWN = ("eager", "smaller", "transformers", FALLBACK.name)
# Of an engine that gets ready and dies at work, little by little: another one is much slower.
_CURES_AT_WORK = ("eager", "smaller", "smallest", "transformers", FALLBACK.name)


def climb(
    rung: Rung, capacity: Capacity, symptom: Symptom, spent: Spent, *, was_ready: bool = False
) -> Rung:
    """Return the rung of the next start; `capacity` is what `rung` gave the engine.

    The same rung again when there is none left; with what the engine told last, if it did.
    `was_ready`: it had started well, and ended at work.
    """
    names = [
        name
        for name in _names_above(rung, symptom.kind, was_ready=was_ready)
        if name != FALLBACK.name or capacity.has_fallback
    ]
    if spent.is_last_chance and len(names) > 1:
        # What runs no other code is the safest of all: the same model in the least room.
        names = [next((name for name in reversed(names) if name in _LIMITS), names[-1])]
    for name in names:
        made = _make(name, rung, capacity, symptom, is_blind=spent.is_last_chance)
        if made is not None and _is_change(made, capacity):
            return made
    return _told(rung, capacity, symptom)


def _names_above(rung: Rung, kind: SymptomKind, *, was_ready: bool) -> list[str]:
    height = _ORDER.index(rung.name) if rung.name in _ORDER else 0
    cures = _CURES.get(kind, _CURES_AT_WORK if was_ready else _CURES_OF_THE_UNKNOWN)
    return [name for name in cures if _ORDER.index(name) > height]


def _make(
    name: str, rung: Rung, capacity: Capacity, symptom: Symptom, *, is_blind: bool
) -> Rung | None:
    if name == FALLBACK.name:
        return FALLBACK
    named = msgspec.structs.replace(rung, name=name)
    if name == "smaller" and symptom.tells_values and not is_blind:
        return _told(named, capacity, symptom)
    eager = msgspec.structs.replace(named, is_eager=True)
    if name == "eager":
        return eager
    if name == "transformers":
        is_known = capacity.has_transformers
        return msgspec.structs.replace(eager, is_transformers=True) if is_known else None
    shrunk = _shrunk(eager, capacity)
    if symptom.kind != "context":  # which needs all the memory that there is
        shrunk = _with_less_memory(shrunk, capacity)
    return _told(shrunk, capacity, symptom)


def _shrunk(rung: Rung, capacity: Capacity) -> Rung:
    limits = _LIMITS[rung.name]
    return msgspec.structs.replace(
        rung,
        max_model_len=min(capacity.max_model_len or limits.max_model_len, limits.max_model_len),
        max_num_seqs=min(capacity.max_num_seqs or limits.max_num_seqs, limits.max_num_seqs),
    )


def _with_less_memory(rung: Rung, capacity: Capacity) -> Rung:
    share, kv_cache_gib = capacity.memory_share, capacity.cpu_kv_cache_gib
    less = _LIMITS[rung.name].less_share
    return msgspec.structs.replace(
        rung,
        memory_share=share and max(round(share - less, 2), _LEAST_SHARE),
        cpu_kv_cache_gib=kv_cache_gib and max(1, kv_cache_gib // 2),
    )


def _told(rung: Rung, capacity: Capacity, symptom: Symptom) -> Rung:
    """Put the engine's own values in; a context only if it is shorter than what there was."""
    length = symptom.max_model_len
    if length is not None:
        known = [value for value in (rung.max_model_len, capacity.max_model_len) if value]
        length = min([length, *known])
    share = symptom.memory_share if capacity.memory_share else None
    kv_cache_gib = symptom.cpu_kv_cache_gib if capacity.cpu_kv_cache_gib else None
    return msgspec.structs.replace(
        rung,
        max_model_len=length or rung.max_model_len,
        memory_share=share or rung.memory_share,
        cpu_kv_cache_gib=kv_cache_gib or rung.cpu_kv_cache_gib,
    )


def _is_change(rung: Rung, capacity: Capacity) -> bool:
    """Whether a rung gives the engine anything else than what it had."""
    values = (
        (rung.max_model_len, capacity.max_model_len),
        (rung.max_num_seqs, capacity.max_num_seqs),
        (rung.memory_share, capacity.memory_share),
        (rung.cpu_kv_cache_gib, capacity.cpu_kv_cache_gib),
    )
    return (
        rung.is_transformers
        or rung.engine != ""
        or (rung.is_eager and not capacity.is_eager)
        or any(new is not None and new != old for new, old in values)
    )
