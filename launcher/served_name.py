"""Owns the folder in which a model goes by its served name, for engines that name it by its path.

It writes one link, and touches no model.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from launcher.errors import CannotStart

# What a path below the folder can be, and a client may say: owner/name, without revision or file.
_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


def link(folder: Path, name: str, model_dir: Path) -> Path:
    """Make `folder`/`name` lead to the model; return the absolute folder. Raises CannotStart."""
    is_usable = _NAME.fullmatch(name) is not None and ".." not in name.split("/")
    if not is_usable:
        raise CannotStart(
            f"SERVED_MODEL_NAME={name}: this engine takes letters, digits, '.', '_', '-' and '/'"
        )
    place = folder.absolute() / name
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            draft.unlink()
        draft.symlink_to(model_dir.absolute(), target_is_directory=True)
        draft.replace(place)
    except OSError as exc:
        raise CannotStart(f"cannot name the model in {folder}: {exc}") from exc
    return folder.absolute()
