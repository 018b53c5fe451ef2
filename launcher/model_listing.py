"""Owns what of a model is still to be fetched: the hub's list of files against a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Left:
    """A download before it begins: all files of the model, and the bytes already there."""

    sizes: Mapping[str, int]
    there_bytes: int

    @property
    def left_bytes(self) -> int:
        """What is still to be fetched."""
        return sum(self.sizes.values()) - self.there_bytes


def compare(sizes: Mapping[str, int], folder: Path) -> Left:
    """Return what of the hub's files, with their sizes, is not in `folder` yet."""
    there = sum(there_bytes(folder / path, size) for path, size in sizes.items())
    return Left(sizes, there)


def there_bytes(file: Path, size: int) -> int:
    """Return how much of a file is there: whole, or what an interrupted download left of it."""
    if size_of(file) == size:
        return size
    return min(size, partial_bytes(file))


def partial_bytes(file: Path) -> int:
    """Return what an interrupted download left of a file, by the client's names for that."""
    # One stream leaves NAME.incomplete, several leave NAME_FIRST_LAST.
    pieces = [file.with_name(f"{file.name}.incomplete"), *file.parent.glob(f"{file.name}_*_*")]
    return sum(size_of(piece) for piece in pieces)


def size_of(file: Path) -> int:
    """Return a file's size; 0 when it is not there."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def free_bytes(folder: Path) -> int:
    """Return what is free where `folder` is, or would be made."""
    places = (folder.absolute(), *folder.absolute().parents)
    # The root is always there; what may not be looked at counts as not there.
    there = next(place for place in places if os.access(place, os.F_OK))
    return shutil.disk_usage(there).free
