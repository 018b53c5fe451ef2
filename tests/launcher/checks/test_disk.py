import pytest

from launcher.checks import disk
from launcher.checks.result import Status


@pytest.mark.parametrize(
    ("to_fetch", "room", "status"),
    [
        (10, 100, Status.OK),
        (0, 100, Status.OK),
        (46, 100, Status.WARNING),
        (51, 100, Status.FAILURE),
        (None, 100, Status.SKIPPED),
        (10, None, Status.SKIPPED),
    ],
)
def test_two_copies_have_to_fit(to_fetch: int | None, room: int | None, status: Status) -> None:
    assert disk.check(to_fetch, room, where="the disk", copies=2).status is status
