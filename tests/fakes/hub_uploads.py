"""What a ModelScope hub does with an upload: it makes a repository, stores blobs, takes commits.

Pure but for its own memory; tests/fakes/hub.py speaks HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, Any]]


@dataclass
class Uploads:
    """The repository that takes an upload, and what it refuses."""

    is_missing: bool = False  # until it is created
    refuses_commits: bool = False
    refuses_blobs: bool = False
    visibility: int | None = None  # as it was created: 1 private, 5 public
    commits: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, body: bytes, url: str, files: dict[str, bytes]) -> Answer:
        """Answer a POST or PUT; a commit changes `files`."""
        if path == "/api/v1/models":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return self._wanted(json.loads(body)["objects"], url)
        if path.startswith("/blobs/"):
            return self._store(path.removeprefix("/blobs/"), body)
        if "/commit/" in path:
            return self._commit(json.loads(body)["actions"], files)
        return 404, {"Code": 404, "Message": f"no route {path}"}

    def _create(self, asked: dict[str, Any]) -> Answer:
        if not self.is_missing:
            return 400, {"Code": 10010201001, "Message": "the model already exists"}
        self.is_missing, self.visibility = False, asked["Visibility"]
        return 200, {"Code": 200, "Success": True, "Data": asked}

    def _wanted(self, objects: list[dict[str, Any]], url: str) -> Answer:
        wanted = [
            {**one, "actions": {"upload": {"href": f"{url}/blobs/{one['oid']}"}}}
            for one in objects
            if one["oid"] not in self.blobs
        ]
        return 200, {"Code": 200, "Success": True, "Data": {"objects": wanted}}

    def _store(self, oid: str, body: bytes) -> Answer:
        if self.refuses_blobs:
            return 403, {"Code": 403, "Message": "over your quota"}
        assert hashlib.sha256(body).hexdigest() == oid
        self.blobs[oid] = body
        return 200, {"Code": 200}

    def _commit(self, actions: list[dict[str, Any]], files: dict[str, bytes]) -> Answer:
        if self.refuses_commits:
            return 403, {"Code": 403, "Message": "you may not write to this model"}
        self.commits += 1
        for action in actions:
            is_blob = action["type"] == "lfs"
            content = (
                self.blobs[action["sha256"]] if is_blob else base64.b64decode(action["content"])
            )
            files[action["path"]] = content
        return 200, {"Code": 200, "Success": True, "Data": {"oid": f"{self.commits:040x}"}}
