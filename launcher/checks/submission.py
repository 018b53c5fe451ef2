"""Owns the question whether what an evaluator would clone is what is here, and can be hosted."""

from __future__ import annotations

from collections.abc import Iterator

from launcher import model_sizes as sizes
from launcher.checks.git_facts import Checkout
from launcher.checks.result import Result, Status, failure, ok, some_of, warning

STATE_NAME = "git state"
DOCKERFILE_NAME = "Dockerfile"
HOSTING_NAME = "hosting limits"
MIB = 2**20
# GitHub, "About large files on GitHub": over 100 MiB a push is refused, over 50 MiB warned of, and
# a repository ideally stays under 1 GB. Gitee's own refusals name 100 MB for a file ("this exceeds
# file size limit of 100.0 MB") and 1024 MB for a repository (wildfirechat/android-chat#435).
REFUSED_FILE_BYTES = 100 * MIB
LARGE_FILE_BYTES = 50 * MIB
LARGE_STORE_BYTES = 1000 * MIB


def check_state(checkout: Checkout) -> Result:
    """Tell what is here and would not be cloned."""
    lacks = list(_not_submitted(checkout))
    told = f"branch {checkout.branch}"
    if not lacks:
        return ok(STATE_NAME, f"{told}: everything is committed and in {checkout.upstream}")
    return warning(
        STATE_NAME,
        f"{told}: {'; '.join(lacks)}",
        "commit and push: the evaluator builds what it clones, not what is here",
    )


def _not_submitted(checkout: Checkout) -> Iterator[str]:
    if checkout.changed:
        yield f"{len(checkout.changed)} files not committed ({some_of(checkout.changed)})"
    if checkout.untracked:
        yield f"{len(checkout.untracked)} not added ({some_of(checkout.untracked)})"
    if checkout.upstream is None:
        yield "it follows no branch of a remote, so nothing tells whether it was pushed"
    elif checkout.n_unpushed is None:
        yield f"{checkout.upstream} does not exist there: it was never pushed, or deleted"
    elif checkout.n_unpushed:
        yield f"{checkout.n_unpushed} commits not in {checkout.upstream}"


def check_dockerfile(checkout: Checkout, *, is_here: bool, is_for_track: bool) -> Result:
    """Tell whether a clone has a Dockerfile; `is_here`: one is in the folder."""
    if "Dockerfile" in checkout.tracked:
        return ok(DOCKERFILE_NAME, "tracked" if is_here else "tracked, but deleted here")
    told = "there, but git does not track it" if is_here else "there is none at the top level"
    status = Status.FAILURE if is_for_track else Status.WARNING
    advice = "add and commit it: the evaluator builds from it"
    return Result(DOCKERFILE_NAME, status, told, advice=advice)


def check_hosting(checkout: Checkout) -> Result:
    """Compare all files that a push sends, and their store, with what hosts take."""
    limit = "files 100 MiB (GitHub, Gitee), repository about 1 GB"
    refused = [file for file in checkout.files if file.n_bytes > REFUSED_FILE_BYTES]
    told = f"{sizes.binary(checkout.store_bytes)} in all"
    if refused:
        names = some_of(f"{file.path} {sizes.binary(file.n_bytes)}" for file in refused)
        return failure(
            HOSTING_NAME,
            f"{names} in the history: the push is refused",
            "take it out of the history (git filter-repo); models belong on ModelScope",
            limit,
        )
    large = [file for file in checkout.files if file.n_bytes > LARGE_FILE_BYTES]
    if large or checkout.store_bytes > LARGE_STORE_BYTES:
        names = some_of(f"{file.path} {sizes.binary(file.n_bytes)}" for file in large)
        return warning(
            HOSTING_NAME,
            f"{told}{f', with {names}' if names else ''}",
            "hosts warn of it or refuse it; models belong on ModelScope",
            limit,
        )
    largest = checkout.files[0] if checkout.files else None
    if largest is not None:
        told += f", the largest file {largest.path} {sizes.binary(largest.n_bytes)}"
    return ok(HOSTING_NAME, told, limit)
