"""Owns one command of an install: its log, its signs of life, that nothing of it outlives a Ctrl-C.

It runs before anything is installed: only the standard library here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from launcher.errors import LauncherError
from launcher.interrupts import interrupts_held_back

# A line now and then shows that an install of minutes is alive, without filling a log.
TICK_S = 10.0


def say(line: str) -> None:
    """Tell the person at the console."""
    print(f"evalgate: {line}", file=sys.stderr, flush=True)


def run(
    argv: list[str], log: Path, tick_s: float = TICK_S, environ: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end, its output in the log, with a sign of life on the console.

    An interrupt ends the command with all of its children. Raises LauncherError when it fails, or
    cannot be run at all.
    """
    start = time.monotonic()
    child: subprocess.Popen[bytes] | None = None
    try:
        with log.open("ab") as output, interrupts_held_back():
            child = _start(argv, output, environ)
        while True:
            try:
                code = child.wait(tick_s)
                break
            except subprocess.TimeoutExpired:
                say(f"  {time.monotonic() - start:.0f} s: {_last_line(log)}")
    except BaseException:  # Ctrl-C: nothing of it may go on in the background
        if child is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        raise
    if code != 0:
        raise LauncherError(f"{_failure(argv, log)} (exit {code}; the whole log: {log})")


def _start(
    argv: list[str], output: BinaryIO, environ: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env=environ,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # pip and venv have children: all end with their group
            close_fds=False,  # the lock is inherited: see virtualenv._locked
        )
    except OSError as exc:  # made for another machine, or on a disk mounted noexec
        raise LauncherError(f"cannot run {argv[0]}: {exc.strerror}") from exc


def _failure(argv: list[str], log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    # pip ends a conflict with a line that names none of its requirements.
    errors = [line for line in lines if re.match(r"ERROR(?!: ResolutionImpossible)|Error", line)]
    if "ensurepip is not" in "\n".join(lines):
        return f"{argv[0]} cannot make virtual environments; install Debian's python3-venv"
    reason = (errors or lines or ["it printed nothing"])[-1]
    return f"`{' '.join(argv[:4])} …` failed: {reason}"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("WARNING")]
    return told[-1].strip()[:100] if told else "…"
