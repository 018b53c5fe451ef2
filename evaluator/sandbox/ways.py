"""Owns how a program is brought into a sandbox: what every way has to say, and the jail's.

The jail is made of this machine's own namespaces; container.py has the other way.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import anyio
import msgspec

from evaluator import processes
from evaluator.sandbox import runner
from evaluator.sandbox.limits import Limits

ENVIRON = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    # Without these, numpy starts as many threads as there are cores: more than are allowed.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
KILL_WAIT_S = 5.0
_REPOSITORY = Path(__file__).parents[2]


class Way(Protocol):
    """How a program is brought into a sandbox."""

    def argv(self, name: str, limits: Limits) -> list[str]:
        """The command that takes the order; `name` is no other sandbox's."""

    def order(self, program: str, nonce: str, folder: str, limits: Limits) -> dict[str, Any]:
        """What the command reads from its standard input."""

    def environ(self) -> dict[str, str]:
        """The environment of the command."""

    def cwd(self, folder: str) -> Path:
        """Where the command runs; `folder` is empty, and gone after it."""

    async def kill(self, name: str) -> None:
        """End what the command's own end would not."""


class Jail:
    """The way through this machine's own namespaces, with this Python."""

    def argv(self, name: str, limits: Limits) -> list[str]:
        """The jail's program; it takes its limits from the order."""
        return [sys.executable, "-E", "-s", "-B", "-m", "evaluator.sandbox.jail"]

    def order(self, program: str, nonce: str, folder: str, limits: Limits) -> dict[str, Any]:
        """All that the jail needs to know."""
        return {
            "parent": os.getpid(),
            "program": program,
            "nonce": nonce,
            "folder": folder,
            "limits": msgspec.to_builtins(limits),
            "python": _real_python(),
            "readable": _python_folders(),
            "runner": Path(runner.__file__).read_text(encoding="utf-8"),
            "environ": ENVIRON,
        }

    def environ(self) -> dict[str, str]:
        """Hardly any: a program could read it where it sees other processes."""
        return {"PATH": os.environ.get("PATH", os.defpath)}

    def cwd(self, folder: str) -> Path:
        """The checkout, where its own modules are."""
        return _REPOSITORY

    async def kill(self, name: str) -> None:
        """Find by its mark what left the group, where no namespace ends it."""
        deadline = anyio.current_time() + KILL_WAIT_S
        while (family := processes.find_family(name, ())) and anyio.current_time() < deadline:
            processes.send(signal.SIGKILL, family)
            await anyio.sleep(0.01)


def _real_python() -> str:
    """The interpreter where it really lies, but for a virtual environment's own last link."""
    own = Path(sys.executable)
    return str(own.parent.resolve() / own.name)


def _python_folders() -> list[str]:
    """Where this Python lies, by its own words and in truth: its last link may use either."""
    told = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return sorted((told | {str(Path(folder).resolve()) for folder in told}) - {"/", "/usr"})
