"""Owns how a program's end is told: from the lines that come out of a sandbox to a verdict.

A line is believed only with the nonce that the program was not given.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import anyio
import msgspec

Status = Literal["passed", "failed", "timed out", "killed"]
_KILLED_IN_CONTAINER = 128 + signal.SIGKILL


class SandboxFailed(Exception):
    """The sandbox itself did not work; the message says what it told."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended."""

    status: Status
    error: str = ""
    seconds: float = 0.0
    """From its first line to its end."""


@dataclass
class Told:
    """What has come out so far, read line by line."""

    nonce: str
    held: Mapping[str, str] | None = None
    """What of the isolation holds: "", or why not."""
    started_at: float | None = None
    """On anyio's clock."""
    verdict: Outcome | None = None
    ended: str = ""
    broken: str = ""

    def take(self, line: bytes) -> None:
        """Take in one line, whatever it holds."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict) or message.get("nonce") != self.nonce:
            return
        if "held" in message:
            self.held = message["held"]
        elif "started" in message:
            self.started_at = anyio.current_time()
        elif "error" in message:
            error = message["error"]
            self.verdict = Outcome(status="failed" if error is not None else "passed")
            self.verdict = msgspec.structs.replace(self.verdict, error=error or "")
        elif "memory" in message:
            self.ended = "used more memory than it may"
        elif "broken" in message:
            self.broken = message["broken"]
        elif "exit" in message:
            self.ended = describe_exit(message["exit"])


def describe_exit(code: int) -> str:
    """Say how a program ended that gave no verdict; of a signal its number, negative."""
    if code == -signal.SIGXCPU:
        return "used more processor time than it may"
    if code == _KILLED_IN_CONTAINER:
        return "used more memory or processor time than it may, or was killed from outside"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"ended before its tests did ({how})"
