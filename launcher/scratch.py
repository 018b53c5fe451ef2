"""Owns the engine's folder for temporary files: its sockets go where they can be found and removed.

vLLM leaves its sockets in the temporary folder when it is killed; this one is the engine's alone.
"""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

# Short: the path of a socket may have 108 characters, and vLLM's names have 36.
PREFIX = "evalgate-engine-"


def make() -> Path | None:
    """Make a new folder; None, with the reason logged, when that cannot be."""
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as exc:
        log.warning("no folder for the engine's temporary files: %s; going on without", exc)
        return None


def environment(environ: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Return `environ` with `folder` for temporary files; caches stay where they are."""
    if folder is None:
        return dict(environ)
    # torch keeps compiled code in the temporary folder: that is to outlive the engine.
    cache = folder.parent / f"torchinductor_{_user()}"
    return {"TORCHINDUCTOR_CACHE_DIR": str(cache), **environ, "TMPDIR": str(folder)}


def remove(folder: str) -> None:
    """Remove a folder that `make` made, with all that is in it; anything else is left alone."""
    path = Path(folder)
    if not path.name.startswith(PREFIX) or path.is_symlink() or not _is_ours(path):
        return
    shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
