"""Fetches a model from ModelScope; with its own client.

It must not know engines, and it keeps no credential: the token goes into the one call that needs
it, never to a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import CannotStart, LauncherError
from launcher.model_folder import check_complete, read_object

# In the folder, so that it moves and goes with it.
STAMP_NAME = ".evalgate-model.json"
# What the hub calls its default branch, and what its client asks for without a revision.
DEFAULT_REVISION = "master"

_MODEL_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True)
class _Source:
    model_id: str
    revision: str
    token: str | None
    endpoint: str | None

    def __str__(self) -> str:
        return f"{self.model_id} ({self.revision})"

    @property
    def hub(self) -> str:
        return self.endpoint or "ModelScope"

    def stamp(self, *, is_complete: bool) -> dict[str, str | bool]:
        return {
            "model_id": self.model_id,
            "revision": self.revision,
            "is_complete": is_complete,
        }


def fetch(
    model_id: str,
    revision: str | None,
    model_root: Path,
    token: str | None,
    endpoint: str | None = None,
) -> Path:
    """Bring a model into `model_root/<model_id>` and return that folder, complete.

    Blocks as long as the download takes and shows its progress on stderr. An interrupted download
    goes on where it was; a folder that is complete for this revision costs no network.
    Raises CannotStart (no such model, no access, incomplete) or LauncherError (network, disk,
    integrity).
    """
    if not _MODEL_ID.fullmatch(model_id) or ".." in model_id:
        raise CannotStart(f"MODEL_ID {model_id!r} is no ModelScope model id: it must be owner/name")
    source = _Source(model_id, revision or DEFAULT_REVISION, token or None, endpoint or None)
    folder = model_root / model_id
    is_stamped = read_object(folder / STAMP_NAME) == source.stamp(is_complete=True)
    if is_stamped and _is_complete(folder):
        return folder
    _download(source, folder, lock_root=model_root / ".modelscope")
    return folder


def _download(source: _Source, folder: Path, lock_root: Path) -> None:
    if not sys.stderr.isatty():
        # A build log keeps every redraw: one in 10 s, not ten a second. tqdm reads it on import.
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    # Here, because it takes a second and nothing else needs it.
    from modelscope.hub.snapshot_download import snapshot_download
    from modelscope_hub.errors import HubError

    try:
        _forget_other_revision(folder, source)
        _write_stamp(folder, source, is_complete=False)
        snapshot_download(
            source.model_id,
            revision=source.revision,
            local_dir=str(folder),
            cache_dir=str(lock_root),
            token=source.token,
            endpoint=source.endpoint,
        )
        check_complete(folder)
        _write_stamp(folder, source, is_complete=True)
    except (HubError, OSError) as exc:
        raise _explain(exc, source, folder) from exc


def _forget_other_revision(folder: Path, source: _Source) -> None:
    """Delete the weights that another revision left, whole or in part.

    Revisions may be sharded differently, and a stale index would make the engine load old weights.
    """
    old = read_object(folder / STAMP_NAME)
    if old is None or (old.get("model_id"), old.get("revision")) == (
        source.model_id,
        source.revision,
    ):
        return
    for pattern in ("*.index.json", "*.safetensors", "*.bin"):
        for leftover in folder.glob(pattern):
            leftover.unlink()


def _write_stamp(folder: Path, source: _Source, *, is_complete: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = json.dumps(source.stamp(is_complete=is_complete))
    (folder / STAMP_NAME).write_text(stamp, encoding="utf-8")


def _explain(exc: Exception, source: _Source, folder: Path) -> LauncherError:
    """Turn what the client raised into one line of ours."""
    from modelscope_hub import errors as hub

    cause, detail = _most_telling(exc)
    if source.token:
        detail = detail.replace(source.token, "***")
    if isinstance(cause, hub.AuthenticationError | hub.PermissionDeniedError):
        key = "refused MODELSCOPE_API_TOKEN" if source.token else "wants a MODELSCOPE_API_TOKEN"
        return CannotStart(f"{source.hub} {key} for {source}: {detail}")
    if isinstance(cause, hub.NotExistError):
        reason = f"{source.hub} has no {source}, or it is private and"
        lack = "MODELSCOPE_API_TOKEN may not see it" if source.token else "needs a token"
        return CannotStart(f"{reason} {lack}: {detail}")
    if isinstance(cause, hub.InvalidParameter):
        return CannotStart(f"{source.hub} does not accept {source}: {detail}")
    if isinstance(cause, hub.FileIntegrityError):
        return LauncherError(f"{source} came damaged from {source.hub}: {detail}")
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return LauncherError(f"no space left for {source} in {folder}: {detail}")
    if isinstance(cause, hub.NetworkError):
        return LauncherError(f"the connection to {source.hub} failed for {source}: {detail}")
    return LauncherError(f"could not fetch {source} from {source.hub} into {folder}: {detail}")


def _most_telling(exc: BaseException) -> tuple[BaseException, str]:
    """The error behind what the client wraps, and its first line, cut to a readable length."""
    from modelscope_hub import errors as hub

    prefix = ""
    if isinstance(exc, hub.FileDownloadError) and exc.failed_files:
        # What trying again cannot cure comes first.
        name, exc = min(exc.failed_files.items(), key=lambda item: getattr(item[1], "retryable", 0))
        prefix = f"{name}: "
    elif isinstance(exc.__cause__, hub.APIError):
        exc = exc.__cause__  # the client wraps 401, 403 and 404 in an HTTPError of requests
    lines = (getattr(exc, "message", "") or str(exc) or type(exc).__name__).splitlines()
    return exc, prefix + lines[0][:_MAX_DETAIL_CHARS]


def _is_complete(folder: Path) -> bool:
    try:
        check_complete(folder)
    except CannotStart:
        return False
    return True
