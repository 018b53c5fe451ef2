"""Owns the names of the engine's phases as the gateway sees them."""

from __future__ import annotations

from enum import Enum


class Phase(str, Enum):
    """starting → warming → ready ⇄ lost."""

    STARTING = "starting"
    """It has not answered its health route yet."""
    WARMING = "warming"
    """It is alive; completions are being tried."""
    READY = "ready"
    LOST = "lost"
    """It was ready and does not answer any more."""
