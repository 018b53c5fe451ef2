"""Owns a copy of the pocket model that never ends an answer by itself.

`ignore_eos` does not pass every route that is compared; this way all of them make the same tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The padding token: the model never learnt to write it.
_NEVER, _NEVER_ID = "<|endoftext|>", 0
_CHANGED: dict[str, dict[str, Any]] = {
    "config.json": {"eos_token_id": _NEVER_ID},
    "generation_config.json": {"eos_token_id": _NEVER_ID},
    "tokenizer_config.json": {"eos_token": _NEVER},
}


def make_endless(model_dir: Path, folder: Path) -> Path:
    """Write such a copy into `folder`, which must not exist; weights are links."""
    folder.mkdir()
    for path in model_dir.iterdir():
        if path.name in _CHANGED:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            changed = json.dumps({**document, **_CHANGED[path.name]})
            (folder / path.name).write_text(changed, encoding="utf-8")
        else:
            (folder / path.name).symlink_to(path.absolute())
    return folder
