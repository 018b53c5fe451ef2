"""Owns what the guardian needs to know of an engine: a plan of one start, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# context: it does not fit the KV cache. memory: too little for anything. graphs: too little only
# for compiled graphs. final: nothing that the launcher can change cures it. capturing is no
# failure: what runs out of memory from then on is graphs.
SymptomKind = Literal["context", "memory", "graphs", "final", "other", "capturing"]


@dataclass(frozen=True)
class Argv:
    """A command line, and the settings that have no effect because the engine lacks the flag."""

    args: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Symptom:
    """What a line of an engine's log tells about its failure, with the values that would do."""

    kind: SymptomKind
    # The engine's own words, on one line.
    text: str
    max_model_len: int | None = None
    # Of the accelerator's memory.
    memory_share: float | None = None
    cpu_kv_cache_gib: int | None = None

    @property
    def tells_values(self) -> bool:
        """Whether the engine said what would do."""
        told = (self.max_model_len, self.memory_share, self.cpu_kv_cache_gib)
        return any(value is not None for value in told)


@dataclass(frozen=True)
class Capacity:
    """What a plan gives the engine to run with; None where the engine chooses."""

    is_eager: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    memory_share: float | None = None
    cpu_kv_cache_gib: int | None = None
    # The engine can also run models by the transformers library.
    has_transformers: bool = False
    # Another engine stands beside it that can serve the same model.
    has_fallback: bool = False


@dataclass(frozen=True)
class Counters:
    """What an engine counts of its work."""

    # Requests that run or wait.
    in_flight: int
    # Grows with every step of the engine; only its change means something.
    progress: float


@dataclass(frozen=True)
class Question:
    """A request that any working engine answers at once: one token."""

    path: str
    body: bytes
    # May hold a key.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def no_symptom(line: str) -> Symptom | None:
    """Read nothing from a line."""
    return None


def no_death(line: str) -> bool:
    """Read no death from a line."""
    return False


def no_counters(text: str) -> Counters | None:
    """Read no counts from a page."""
    return None


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
    # Which kind of engine: its name as ENGINE says it.
    engine: str = "vllm"
    # Where it is started; None: where we are.
    working_dir: Path | None = None
    # The process that is started passes on neither signals nor exit codes of the one it starts.
    is_wrapper: bool = False
    # Its health route is a proof of work, not only of life.
    is_health_proof: bool = False
    dropped: tuple[str, ...] = ()
    accelerator: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    model_dir: str = ""
    # Which configuration of several this is; the first is the one that was asked for.
    rung: str = "as configured"
    # Changes when the configuration that was asked for does.
    configuration: str = ""
    capacity: Capacity = Capacity()
    metrics_path: str = "/metrics"
    # What the text of that page tells; None when it lacks what is needed.
    read_counters: Callable[[str], Counters | None] = no_counters
    # It computes on the processor: there, time used is a sign of work.
    is_on_cpu: bool = False
    # What an engine that makes no step is asked, to see that it works.
    canary: Question | None = None
    read_symptom: Callable[[str], Symptom | None] = no_symptom
    # Whether a line of the log says that the engine is dead.
    tells_death: Callable[[str], bool] = no_death
