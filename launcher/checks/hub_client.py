"""Asks ModelScope's own client for a model's file list and small files; a program of its own.

`python -m launcher.checks.hub_client MODEL REVISION FOLDER ENDPOINT`; the token comes in the
environment, the answer is one JSON object on stdout. It imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.model_hub import HubModel

# What the doctor reads of a model: how it is built, and where its answers end.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tekken.json",
)
MARK = "EVALGATE-LISTING "
_MAX_DETAIL_CHARS = 200


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask the hub and print the answer; a refusal is an answer too."""
    model_id, revision, folder, endpoint = arguments
    token = environ.get("MODELSCOPE_API_TOKEN") or None
    answer = _look(model_id, revision, token, endpoint or None, Path(folder))
    print(MARK + json.dumps(answer))
    return 0


def _look(
    model_id: str, revision: str, token: str | None, endpoint: str | None, folder: Path
) -> dict[str, object]:
    from modelscope_hub.errors import HubError

    sizes: dict[str, int] = {}
    problem, is_refused = "", False
    try:
        # As the build asks: a model may be on the other one of ModelScope's sites.
        sizes = dict(HubModel(model_id, revision, token, endpoint).sizes())
        _fetch_small(model_id, revision, token, endpoint, folder)
    except (HubError, OSError, ValueError) as exc:
        problem, is_refused = _explain(exc, token)
    return {"sizes": sizes, "problem": problem, "is_refused": is_refused}


def _explain(exc: Exception, token: str | None) -> tuple[str, bool]:
    """Say what the client raised, and whether that is the hub's answer rather than a mishap."""
    from modelscope_hub import errors as hub

    if isinstance(exc, hub.NotExistError):
        return "no such model or revision, or it is private", True
    if isinstance(exc, hub.AuthenticationError | hub.PermissionDeniedError):
        return (
            "it refuses MODELSCOPE_API_TOKEN" if token else "it wants a MODELSCOPE_API_TOKEN",
            True,
        )
    if isinstance(exc, hub.NetworkError):
        return "no connection", False
    lines = (str(exc) or type(exc).__name__).splitlines()
    told = lines[0][:_MAX_DETAIL_CHARS]
    return told.replace(token, "***") if token else told, False


def _fetch_small(
    model_id: str, revision: str, token: str | None, endpoint: str | None, folder: Path
) -> None:
    from modelscope.hub.snapshot_download import snapshot_download

    with tempfile.TemporaryDirectory() as locks:
        snapshot_download(
            model_id,
            revision=revision,
            local_dir=str(folder),
            cache_dir=locks,
            token=token,
            endpoint=endpoint,
            allow_patterns=list(SMALL_FILES),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
