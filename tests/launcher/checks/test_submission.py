from dataclasses import replace

import pytest

from launcher.checks import submission
from launcher.checks.git_facts import Checkout, File
from launcher.checks.result import Status

MIB = 2**20
PUSHED = Checkout(
    branch="main",
    upstream="origin/main",
    n_unpushed=0,
    changed=(),
    untracked=(),
    tracked=frozenset({"Dockerfile", "README.md"}),
    files=(File("README.md", 2048), File("Dockerfile", 10)),
    store_bytes=3 * MIB,
)


def test_what_was_pushed_is_what_is_submitted() -> None:
    row = submission.check_state(PUSHED)
    assert row.status is Status.OK
    assert "everything is committed and in origin/main" in row.observed


@pytest.mark.parametrize(
    ("checkout", "told"),
    [
        (replace(PUSHED, changed=("a", "b")), "2 files not committed (a, b)"),
        (replace(PUSHED, untracked=tuple("abcd")), "4 not added (a, b, c and 1 more)"),
        (replace(PUSHED, upstream=None), "it follows no branch of a remote"),
        (replace(PUSHED, n_unpushed=3), "3 commits not in origin/main"),
        (replace(PUSHED, n_unpushed=None), "origin/main does not exist there"),
    ],
)
def test_what_the_evaluator_would_not_get_is_a_warning(checkout: Checkout, told: str) -> None:
    row = submission.check_state(checkout)
    assert row.status is Status.WARNING
    assert told in row.observed


@pytest.mark.parametrize(
    ("tracked", "is_here", "is_for_track", "status"),
    [
        (True, True, True, Status.OK),
        (True, False, True, Status.OK),
        (False, True, True, Status.FAILURE),
        (False, False, True, Status.FAILURE),
        (False, False, False, Status.WARNING),
    ],
)
def test_an_evaluator_needs_a_tracked_dockerfile(
    tracked: bool, is_here: bool, is_for_track: bool, status: Status
) -> None:
    checkout = PUSHED if tracked else replace(PUSHED, tracked=frozenset())
    row = submission.check_dockerfile(checkout, is_here=is_here, is_for_track=is_for_track)
    assert row.status is status


def test_a_small_repository_can_be_hosted() -> None:
    row = submission.check_hosting(PUSHED)
    assert row.status is Status.OK
    assert row.observed == "3.0 MiB in all, the largest file README.md 2.0 KiB"
    assert submission.check_hosting(replace(PUSHED, files=())).status is Status.OK


@pytest.mark.parametrize(
    ("file_mib", "store_mib", "status"),
    [
        (51, 60, Status.WARNING),
        (1, 1100, Status.WARNING),
        (100, 120, Status.WARNING),
        (101, 120, Status.FAILURE),
    ],
)
def test_large_files_are_warned_of_or_refused(
    file_mib: int, store_mib: int, status: Status
) -> None:
    files = (File("model.bin", file_mib * MIB),)
    row = submission.check_hosting(replace(PUSHED, files=files, store_bytes=store_mib * MIB))
    assert row.status is status
    assert "ModelScope" in row.advice
