"""Owns writing a file so that a reader sees the old text or the new, never a part."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, making its folder if need be; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        # Half a file on a full disk would keep it full.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
