"""How an engine ended."""

from __future__ import annotations

import pytest

from launcher.ending import describe_exit, rejected_argument, restart_delay_s
from launcher.state import Exit

LINES = tuple(f"line {number}" for number in range(20))
REJECTION = "api_server.py: error: unrecognized arguments: --nope"


@pytest.mark.parametrize(
    ("returncode", "code", "signal", "reason"),
    [
        (0, 0, None, "exit code 0"),
        (1, 1, None, "exit code 1"),
        (-9, None, 9, "signal 9 (SIGKILL)"),
        (-33, None, 33, "signal 33"),
    ],
)
def test_an_end_is_recorded(
    returncode: int, code: int | None, signal: int | None, reason: str
) -> None:
    assert describe_exit(returncode, LINES, at=50.0, lived_s=3.0) == Exit(
        code=code, signal=signal, at=50.0, lived_s=3.0, reason=reason, log_lines=LINES[-15:]
    )


@pytest.mark.parametrize(
    ("returncode", "lines", "expected"),
    [
        (2, ("usage: api_server.py", REJECTION), REJECTION),
        (2, (f"(APIServer pid=3) {REJECTION}", "bye"), REJECTION),
        (1, (REJECTION,), None),
        (2, ("RuntimeError: no memory", "error: short"), None),
        (2, (), None),
    ],
)
def test_a_rejected_argument_is_told_from_other_ends(
    returncode: int, lines: tuple[str, ...], expected: str | None
) -> None:
    assert rejected_argument(returncode, lines) == expected


def test_the_wait_doubles_up_to_a_quarter_of_a_minute() -> None:
    assert [restart_delay_s(number, number - 1) for number in (1, 2, 3, 4, 5, 6, 7, 9999)] == [
        *(0, 1, 2, 4, 8, 15, 15, 15),
    ]


def test_another_configuration_is_made_to_wait_a_second_only() -> None:
    """supervisord gives up on programs that end within a second, some times in a row."""
    assert [restart_delay_s(number, 0) for number in (1, 2, 5)] == [0, 1, 1]
    assert restart_delay_s(9, 2) == 4


def test_what_was_killed_for_a_reason_says_it() -> None:
    last = describe_exit(-9, LINES, 50.0, 3.0, killed_because="hung: no answer")
    assert (last.signal, last.reason) == (9, "hung: no answer")
