"""Asks git about the checkout that would be submitted; changes nothing in it, asks no remote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

# A large checkout on a cold disk takes seconds.
TIMEOUT_S = 10.0
# For files that git refuses to show in lines: names end with a zero byte.
_NUL = "\0"


class GitFailed(Exception):
    """Git is missing, or did not do what it was asked."""


@dataclass(frozen=True)
class File:
    """A file of some commit."""

    path: str
    n_bytes: int


@dataclass(frozen=True)
class Checkout:
    """The state of a checkout."""

    branch: str
    # None: the branch follows none.
    upstream: str | None
    # None: the remote has no such branch, as before the first push.
    n_unpushed: int | None
    changed: tuple[str, ...]
    untracked: tuple[str, ...]
    tracked: frozenset[str]
    # Largest first: every file of every commit that a push of this branch sends.
    files: tuple[File, ...]
    store_bytes: int


async def git(
    repository: Path,
    *arguments: str,
    text: str = "",
    answers: Sequence[int] = (),
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run one git command and return its output; raises GitFailed.

    `answers` are exit codes beside 0 that are no failure.
    """
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                ["git", "-C", str(repository), *arguments],
                input=text.encode(),
                env=env,
                check=False,
            )
    except FileNotFoundError as exc:
        raise GitFailed("git is not installed") from exc
    except TimeoutError as exc:
        raise GitFailed(f"git {arguments[0]} took over {timeout_s:g} s") from exc
    if done.returncode not in (0, *answers):
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise GitFailed(f"git {arguments[0]}: {lines[0]}")
    return done.stdout.decode(errors="replace")


async def look(repository: Path) -> Checkout:
    """Gather everything; raises GitFailed when there is no checkout, or no commit."""
    status = await git(repository, "status", "--porcelain=v2", "--branch", "-z", "--no-renames")
    branch, upstream, ahead = _read_branch(status)
    changed, untracked = _read_changes(status)
    return Checkout(
        branch=branch,
        upstream=upstream,
        n_unpushed=ahead,
        changed=changed,
        untracked=untracked,
        tracked=frozenset(_split(await git(repository, "ls-files", "-z"))),
        files=await _files(repository),
        store_bytes=_store_bytes(await git(repository, "count-objects", "-v")),
    )


def _split(output: str) -> list[str]:
    return [part for part in output.split(_NUL) if part]


def _read_branch(status: str) -> tuple[str, str | None, int | None]:
    """`# branch.head NAME`, `# branch.upstream NAME`, `# branch.ab +AHEAD -BEHIND` (git-status).

    The last is left out where the upstream is only named, and is not there.
    """
    heads = [line.split(" ", 2) for line in _split(status) if line.startswith("# ")]
    told = {words[1]: words[2] for words in heads if len(words) == 3}
    upstream = told.get("branch.upstream")
    ahead = told.get("branch.ab", "+0 -0" if upstream is None else "").split()
    return told.get("branch.head", ""), upstream, int(ahead[0]) if ahead else None


def _read_changes(status: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`1 XY …(6 fields) path` changed, `u XY …(8 fields) path` unmerged, `? path` untracked."""
    lines = _split(status)
    changed = [line.split(" ", 8)[8] for line in lines if line.startswith("1 ")]
    changed += [line.split(" ", 10)[10] for line in lines if line.startswith("u ")]
    return tuple(changed), tuple(line[2:] for line in lines if line.startswith("? "))


async def _files(repository: Path) -> tuple[File, ...]:
    """List what hosting limits count: not what is in the folder, but what is in the history."""
    named = await git(repository, "rev-list", "--objects", "HEAD")
    form = "--batch-check=%(objecttype) %(objectsize) %(rest)"
    sizes = await git(repository, "cat-file", form, text=named)
    rows = [line.split(" ", 2) for line in sizes.splitlines() if line.startswith("blob ")]
    files = [File(path, int(size)) for _, size, path in rows]
    return tuple(sorted(files, key=lambda file: -file.n_bytes))


def _store_bytes(counted: str) -> int:
    """`size` and `size-pack` of git-count-objects are in KiB."""
    pairs = dict(line.split(": ", 1) for line in counted.splitlines() if ": " in line)
    return 1024 * (int(pairs.get("size", 0)) + int(pairs.get("size-pack", 0)))
