"""Fetches a model from ModelScope; with its own client.

It must not know engines, and it keeps no credential: the token goes into the one call that needs
it, never to a file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import CannotStart, LauncherError
from launcher.model_folder import check_complete, is_read_by_engines, read_object
from launcher.model_hub import DEFAULT_REVISION, HubModel, check_id, quieten_progress
from launcher.model_listing import Left, compare, free_bytes, partial_bytes
from launcher.model_pace import Pace, kept
from launcher.model_sizes import decimal

log = logging.getLogger(__name__)

# In the folder, so that it moves and goes with it.
STAMP_NAME = ".evalgate-model.json"
# Weights, their indexes, and what the client leaves of them when it is interrupted.
_WEIGHT_PATTERNS = (
    "*.index.json",
    "*.safetensors",
    "*.bin",
    "*.incomplete",
    "*.safetensors_*",
    "*.bin_*",
)


def fetch(
    model_id: str,
    revision: str | None,
    model_root: Path,
    token: str | None,
    endpoint: str | None = None,
    *,
    check: Callable[[Path], None] = check_complete,
    setting: str = "MODEL_ID",
    budget_s: float = 0,
) -> Path:
    """Bring a model into `model_root/<model_id>` and return that folder, complete by `check`.

    Blocks as long as the download takes and shows its progress on stderr. An interrupted download
    goes on where it was; a folder that is complete for this revision costs no network. `setting`
    is where the id is from; a `budget_s` of 0 is none.
    Raises CannotStart (no such model, no access, incomplete) or LauncherError (network, disk,
    integrity, too slow).
    """
    check_id(model_id, setting)
    source = HubModel(model_id, revision or DEFAULT_REVISION, token or None, endpoint or None)
    folder = model_root / model_id
    old = read_object(folder / STAMP_NAME) or {}
    is_stamped = old.items() >= _stamp(source, is_complete=True).items()
    if is_stamped and _is_complete(folder, check):
        # Of a branch, what it held when it was fetched.
        told = "using the copy of %s that is in %s; %s is not asked for a newer one"
        log.info(told, source, folder, source.hub)
        return folder
    quieten_progress()
    from modelscope_hub.errors import HubError

    try:
        sizes = source.sizes()
        # Before anything is deleted: what does not fit must not cost the model that is there.
        _check_room(compare(sizes, folder), source, folder)
        _forget_earlier(old, folder, source, sizes)
        left = compare(sizes, folder)
        _write_stamp(folder, source, sizes, is_complete=False)
        _download(source, folder, left, model_root / ".modelscope", budget_s)
        check(folder)
        _write_stamp(folder, source, sizes, is_complete=True)
    except (HubError, OSError) as exc:
        failure = f"could not fetch {source} from {source.hub} into {folder}"
        raise source.explain(exc, failure) from exc
    return folder


def _check_room(left: Left, source: HubModel, folder: Path) -> None:
    free = free_bytes(folder)
    if left.left_bytes > free:
        raise LauncherError(
            f"no space for {source} in {folder}: {decimal(left.left_bytes)} are still to be "
            f"fetched, {decimal(free)} are free; make room, or put MODEL_ROOT on another disk"
        )


def _download(source: HubModel, folder: Path, left: Left, lock_root: Path, budget_s: float) -> None:
    from modelscope.hub.snapshot_download import snapshot_download

    there = f", {decimal(left.there_bytes)} of them there already" if left.there_bytes else ""
    total = decimal(sum(left.sizes.values()))
    log.info("fetching %s: %s in %d files%s", source, total, len(left.sizes), there)
    pace = Pace(left.left_bytes, budget_s)
    with kept(pace, f"could not fetch {source} from {source.hub}"):
        snapshot_download(
            source.model_id,
            revision=source.revision,
            local_dir=str(folder),
            cache_dir=str(lock_root),
            token=source.token,
            endpoint=source.endpoint,
            progress_callbacks=[_counting(pace, folder)],
        )
    if left.left_bytes:
        log.info("%s", pace)


def _counting(pace: Pace, folder: Path) -> type:
    """Return what the client makes one of for each file, to tell it of every piece."""

    class Counting:
        def __init__(self, filename: str, file_size: int) -> None:
            # The client begins with what an earlier download left, which no network brought.
            self._resumed_bytes = partial_bytes(folder / filename)

        def update(self, size: int) -> None:
            resumed = max(0, min(size, self._resumed_bytes))
            self._resumed_bytes -= resumed
            pace.arrived(size - resumed)

        def end(self) -> None:
            """The client says so; every piece was counted already."""

    return Counting


def _forget_earlier(
    old: Mapping[str, Any], folder: Path, source: HubModel, listed: Collection[str]
) -> None:
    """Delete what an earlier fetch, by its stamp, left and must not be mixed with this one."""
    if not old:
        return
    if (old.get("model_id"), old.get("revision")) != (source.model_id, source.revision):
        _forget_weights(folder)
    _forget_unlisted(old.get("files", []), folder, listed)


def _forget_weights(folder: Path) -> None:
    """Delete the weights that another revision left, whole or in part.

    Revisions may be sharded differently, and a stale index would make the engine load old weights.
    """
    for pattern in _WEIGHT_PATTERNS:
        for leftover in folder.glob(pattern):
            leftover.unlink()


def _forget_unlisted(fetched: Collection[str], folder: Path, listed: Collection[str]) -> None:
    """Delete what another revision, or the same before its branch moved, left beside the listed.

    Engines prefer an index to a single file, and a template's own file to the tokenizer's. What
    was not fetched, as a chat template that the model lacked, is the folder's owner's, and stays.
    """
    for name in fetched:
        if name not in listed and is_read_by_engines(name):
            (folder / name).unlink(missing_ok=True)


def _stamp(source: HubModel, *, is_complete: bool) -> dict[str, Any]:
    return {
        "model_id": source.model_id,
        "revision": source.revision,
        "is_complete": is_complete,
    }


def _write_stamp(
    folder: Path, source: HubModel, files: Iterable[str], *, is_complete: bool
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = _stamp(source, is_complete=is_complete) | {"files": sorted(files)}
    (folder / STAMP_NAME).write_text(json.dumps(stamp), encoding="utf-8")


def _is_complete(folder: Path, check: Callable[[Path], None]) -> bool:
    try:
        check(folder)
    except CannotStart:
        return False
    return True
