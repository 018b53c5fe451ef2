"""Owns the environments of contestants whose packages would fight with others."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contestants.contestant import Unavailable
from launcher.errors import LauncherError
from launcher.virtualenv import Recipe, cache_folder, ensure

REPOSITORY = Path(__file__).parents[2]


def environment(requirements: str) -> Path:
    """Return the folder of programs of `requirements/<requirements>`, installed if need be.

    Raises Unavailable when it cannot be installed.
    """
    name = requirements.removesuffix(".txt")
    recipe = Recipe(Path(sys.executable), (REPOSITORY / "requirements" / requirements,))
    try:
        return ensure(REPOSITORY / f".venv-{name}", recipe, cache_folder()).parent
    except LauncherError as exc:
        raise Unavailable(f"{requirements} cannot be installed: {exc}") from exc
