"""Owns the judgement of how an engine ended, and how long to wait before the next start: pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from launcher.state import LAST_LOG_LINES, Exit

MAX_RESTART_DELAY_S = 15.0
# argparse ends with 2 and "PROGRAM: error: …"; nothing else of vLLM's does both.
_ARGPARSE_EXIT_CODE = 2
_ARGPARSE_ERROR = re.compile(r"\S+: error: .+")


def describe_exit(
    returncode: int, log_lines: Sequence[str], at: float, lived_s: float, killed_because: str = ""
) -> Exit:
    """Return the record of an end; `returncode` is minus the signal that ended the process."""
    reason = f"exit code {returncode}" if returncode >= 0 else _signal_name(-returncode)
    return Exit(
        code=returncode if returncode >= 0 else None,
        signal=-returncode if returncode < 0 else None,
        at=at,
        lived_s=lived_s,
        reason=killed_because or reason,
        log_lines=tuple(log_lines[-LAST_LOG_LINES:]),
    )


def rejected_argument(returncode: int, log_lines: Sequence[str]) -> str | None:
    """Return the engine's own words when it ended because of an argument."""
    if returncode != _ARGPARSE_EXIT_CODE:
        return None
    matches = (_ARGPARSE_ERROR.search(line) for line in reversed(log_lines))
    return next((match[0] for match in matches if match is not None), None)


def restart_delay_s(attempt: int, failures: int) -> float:
    """Seconds to wait before start number `attempt` of a series without a proven one.

    `failures` is how many of them were on the rung that is tried next: another one is not made to
    wait, but for the second that supervisord wants a program to last.
    """
    attempt = min(attempt, failures + 2)
    if attempt <= 1:
        return 0.0
    # The exponent is bounded too: a machine may try for months.
    return min(2.0 ** min(attempt - 2, 10), MAX_RESTART_DELAY_S)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
