"""Owns what is known of the evaluator's tracks: time limits and machines. It checks nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from launcher.accelerator import Accelerator

GB = 10**9
GIB = 2**30


class Track(str, Enum):
    """A track of the course's evaluator, named after its hardware."""

    METAX = "metax"
    MTHREADS = "mthreads"
    PARATERA = "paratera"


@dataclass(frozen=True)
class Machine:
    """What an evaluation runs on; None where nobody said."""

    card: str
    card_memory_bytes: int
    accelerator: Accelerator
    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    bandwidth_mbit_s: float = 100


@dataclass(frozen=True)
class Limits:
    """Seconds that each phase may take."""

    build_s: float
    health_s: float
    predict_s: float


MACHINES = {
    Track.METAX: Machine(
        "MetaX C500", 64 * GIB, Accelerator.METAX, 24, memory_bytes=200 * GB, disk_bytes=1000 * GB
    ),
    Track.MTHREADS: Machine("Moore Threads S4000", 48 * GIB, Accelerator.MOORE_THREADS),
    Track.PARATERA: Machine("NVIDIA RTX 5090", 32 * GIB, Accelerator.NVIDIA),
}
LIMITS = {
    Track.METAX: Limits(build_s=900, health_s=180, predict_s=360),
    Track.MTHREADS: Limits(build_s=900, health_s=180, predict_s=360),
    Track.PARATERA: Limits(build_s=1500, health_s=420, predict_s=360),
}


def memory_of_card(description: str) -> int | None:
    """Return the memory of a card whose name a vendor's tool told, if it is a track's."""
    for machine in MACHINES.values():
        model = machine.card.split()[-1]
        if model in description:
            return machine.card_memory_bytes
    return None
