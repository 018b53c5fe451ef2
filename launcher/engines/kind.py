"""Owns what one kind of engine is to the launcher: pure functions and names, one value per engine.

The engines' own files make these values; the catalog lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from launcher.accelerator import Accelerator
from launcher.engines.base import (
    Argv,
    Capacity,
    Counters,
    Question,
    Symptom,
    no_counters,
    no_death,
    no_symptom,
)
from launcher.ladder import Rung
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings


class Place(NamedTuple):
    """Where an engine is started, and on what."""

    python: Path
    model_dir: Path
    accelerator: Accelerator
    # None where the engine does not tell what it knows.
    known_flags: frozenset[str] | None


def _no_environment(settings: LauncherSettings) -> Mapping[str, str]:
    return {}


def _nowhere(settings: LauncherSettings, model_dir: Path) -> Path | None:
    return None


def _unknown_capacity(args: Sequence[str], known_flags: frozenset[str] | None) -> Capacity:
    return Capacity()


def _never(python: Path) -> bool:
    return False


@dataclass(frozen=True)
class EngineKind:
    """One kind of engine."""

    # As ENGINE says it, and for people.
    name: str
    title: str
    # What its interpreter can import; empty: it needs no interpreter.
    package: str
    argv: Callable[[LauncherSettings, Place, Rung, Parts], Argv]
    canary: Callable[[LauncherSettings], Question]
    # Whose version is its own; the first that is installed.
    distributions: tuple[str, ...] = ()
    environment: Callable[[LauncherSettings], Mapping[str, str]] = _no_environment
    # The folder that it is started in, made if need be.
    working_dir: Callable[[LauncherSettings, Path], Path | None] = _nowhere
    capacity: Callable[[Sequence[str], frozenset[str] | None], Capacity] = _unknown_capacity
    # It serves a draft and an adapter with the model.
    has_parts: bool = False
    # It guesses tokens, without or with a draft.
    can_speculate: bool = False
    # It brings its models along: MODEL_DIR only tells the tokenizer, and may be missing.
    has_own_models: bool = False
    # The module, with its arguments, whose parser tells what it knows; empty: it is not asked.
    flags_module: str = ""
    flags_arguments: tuple[str, ...] = ()
    health_path: str = "/health"
    # Its health route is a proof of work, not only of life: what fails it long enough hangs.
    is_health_proof: bool = False
    # It is a script, which needs the modules beside it: `python -m` does not.
    is_script: bool = False
    # What is started is a wrapper that passes on neither signals nor exit codes.
    is_wrapper: Callable[[Path], bool] = _never
    metrics_path: str = "/metrics"
    read_counters: Callable[[str], Counters | None] = no_counters
    read_symptom: Callable[[str], Symptom | None] = no_symptom
    tells_death: Callable[[str], bool] = no_death
