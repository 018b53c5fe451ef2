"""Owns the units that people write and read: bytes, bandwidth, minutes."""

from __future__ import annotations

import math
import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?i?B?)\s*", re.IGNORECASE)
_BANDWIDTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:M|Mbit/s|Mbps)?\s*", re.IGNORECASE)
_PREFIXES = "kmgt"


def parse_size(text: str) -> int:
    """Return the bytes of `8GB`, `14GiB`, `500 MB` or `8000000000`; raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size: write 8GB, 14GiB or a number of bytes")
    unit = match[2].lower().removesuffix("b")
    base = 1024 if unit.endswith("i") else 1000
    power = _PREFIXES.find(unit[0]) + 1 if unit else 0
    n_bytes = math.ceil(float(match[1]) * float(base**power))
    if n_bytes == 0:
        raise ValueError(f"{text!r} is no size: it must be over 0")
    return n_bytes


def parse_bandwidth(text: str) -> float:
    """Return the Mbit/s of `100`, `100M` or `100Mbit/s`; raises ValueError."""
    match = _BANDWIDTH.fullmatch(text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no bandwidth: write 100 or 100Mbit/s")
    return float(match[1])


def decimal(n_bytes: float) -> str:
    """Show a size in the units of downloads and disks."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def binary(n_bytes: float) -> str:
    """Show a size in the units of memory."""
    for unit, scale in (("GiB", 2.0**30), ("MiB", 2.0**20)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes / 1024:.1f} KiB"


def minutes(seconds: float) -> str:
    """Show a duration as limits are given and as people plan."""
    return f"{seconds:.0f} s ({seconds / 60:.1f} min)"
