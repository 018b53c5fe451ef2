"""Owns one model on ModelScope as its client sees it: the list of files, and words for its errors.

The token goes into the calls that need it, and into no text.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.errors import CannotStart, LauncherError

# What the hub calls its default branch, and what its client asks for without a revision.
DEFAULT_REVISION = "master"

_MODEL_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it; not of every file it tells the content's SHA-256, in hex."""

    size_bytes: int
    sha256: str | None


@dataclass(frozen=True)
class HubModel:
    """A model's id, revision and hub; `endpoint` None is ModelScope itself."""

    model_id: str
    revision: str = DEFAULT_REVISION
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None

    def __str__(self) -> str:
        return f"{self.model_id} ({self.revision})"

    @property
    def hub(self) -> str:
        """The hub, for people."""
        return self.endpoint or "ModelScope"

    def api(self) -> Any:
        """Return the client for this model's hub; importing it takes a second."""
        from modelscope_hub.api import HubApi

        return HubApi(endpoint=self.endpoint, token=self.token)

    def api_for_reading(self) -> Any:
        """Return the client for the site that has the model, of ModelScope's two."""
        from modelscope_hub.api import HubApi

        api = self.api()
        if self.endpoint is not None:
            return api
        found = api.resolve_endpoint_for_read(self.model_id, token=self.token)
        return HubApi(endpoint=found, token=self.token)

    def files(self) -> Mapping[str, HubFile]:
        """Ask the hub for the model's files, by their paths."""
        files = self.api_for_reading().list_repo_files(
            self.model_id, "model", revision=self.revision
        )
        return {
            str(file.path): HubFile(int(file.size), file.sha256 or None)
            for file in files
            if str(file.type) != "tree"
        }

    def sizes(self) -> Mapping[str, int]:
        """Ask the hub for the model's files and their sizes."""
        return {path: file.size_bytes for path, file in self.files().items()}

    def hidden(self, text: str) -> str:
        """Return `text` without the token."""
        return text.replace(self.token, "***") if self.token else text

    def explain(self, exc: BaseException, failure: str) -> LauncherError:
        """Turn what the client raised into one line of ours; `failure` for what tells nothing."""
        from modelscope_hub import errors as hub

        cause, detail = _most_telling(exc)
        detail = self.hidden(detail)
        if isinstance(cause, hub.AuthenticationError | hub.PermissionDeniedError):
            key = "refused MODELSCOPE_API_TOKEN" if self.token else "wants a MODELSCOPE_API_TOKEN"
            return CannotStart(f"{self.hub} {key} for {self}: {detail}")
        if isinstance(cause, hub.NotExistError):
            reason = f"{self.hub} has no {self}, or it is private and"
            lack = "MODELSCOPE_API_TOKEN may not see it" if self.token else "needs a token"
            return CannotStart(f"{reason} {lack}: {detail}")
        if isinstance(cause, hub.InvalidParameter):
            return CannotStart(f"{self.hub} does not accept {self}: {detail}")
        if isinstance(cause, hub.FileIntegrityError):
            return LauncherError(f"{self} came damaged from {self.hub}: {detail}")
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return LauncherError(f"no space left for {self}: {failure}: {detail}")
        if isinstance(cause, hub.NetworkError):
            return LauncherError(f"the connection to {self.hub} failed for {self}: {detail}")
        return LauncherError(f"{failure}: {detail}")


def check_id(model_id: str, setting: str) -> None:
    """Raise CannotStart, naming the setting, unless the id has the form of one."""
    if not _MODEL_ID.fullmatch(model_id) or ".." in model_id:
        rule = "is no ModelScope model id: it must be owner/name"
        raise CannotStart(f"{setting} {model_id!r} {rule}")


def quieten_progress() -> None:
    """Have the client's bars, in a build log that keeps every redraw, drawn once in 10 s."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # tqdm reads it on import


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
