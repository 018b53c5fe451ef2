"""Owns what the guardian needs to know of an engine: a plan of one start, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Argv:
    """A command line, and the settings that have no effect because the engine lacks the flag."""

    args: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnginePlan:
    """One start of an engine: everything the guardian runs, watches and reports."""

    # What is started on what, for people: "vLLM 0.32.0 on CPU (2 cores) with model pocket".
    title: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    base_url: str
    # Answers 200 once the engine can serve.
    health_path: str
    dropped: tuple[str, ...] = ()
    accelerator: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    model_dir: str = ""
    # Which configuration of several this is; the first is the one that was asked for.
    rung: str = "as configured"
