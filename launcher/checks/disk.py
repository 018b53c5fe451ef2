"""Owns the question whether the model fits the disk: here, or the one of a track."""

from __future__ import annotations

from launcher import model_sizes as sizes
from launcher.checks.result import Result, failure, ok, skipped, warning

NAME = "disk"
# A build writes the model into a layer, and a store of images may hold it packed as well.
COPIES_IN_A_BUILD = 2


def check(download_bytes: int | None, room_bytes: int | None, *, where: str, copies: int) -> Result:
    """Compare what is still to be written, `copies` times, with the room `where`."""
    if room_bytes is None:
        return skipped(NAME, f"the room of {where} is not known")
    if download_bytes is None:
        return skipped(NAME, "the model's size is not known", "name it: --model-size 8GB")
    needed = download_bytes * copies
    limit = f"{sizes.decimal(room_bytes)} of {where}"
    if not needed:
        return ok(NAME, "nothing is left to be fetched", limit)
    times = f" ({copies} copies: layer and image store)" if copies > 1 else ""
    observed = f"the model takes {sizes.decimal(needed)}{times}"
    if needed > room_bytes:
        return failure(NAME, observed, "make room, or put MODEL_ROOT on another disk", limit)
    if needed > 0.9 * room_bytes:
        return warning(NAME, observed, "make room: pip and logs need some too", limit)
    return ok(NAME, observed, limit)
