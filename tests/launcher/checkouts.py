"""Git repositories as people submit them, made in a folder of the test's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# The identity and the settings of whoever runs the tests stay out of it.
ENVIRON = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    **{
        f"GIT_{role}_{what}": "a@b"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def git(folder: Path, *arguments: str) -> None:
    env = {**os.environ, **ENVIRON}
    subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, capture_output=True)


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def checkout(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Make a repository with `files` in one commit that is pushed."""
    write(folder, files)
    remote = folder.with_name(f"{folder.name}.git")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "init", "--quiet", "--bare", str(remote))
    git(folder, "remote", "add", "origin", str(remote))
    commit(folder)
    git(folder, "push", "--quiet", "--set-upstream", "origin", "main")
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message=work")
