"""Owns a contestant's processes: started in a group of their own, gone when the block ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.contestants.contestant import Unavailable

# Three engines that start at the same time on two cores.
START_S = 300.0
ENDING_S = 20.0


@dataclass(frozen=True)
class Program:
    """A running program and where its output goes."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def failure(self, what: str) -> Unavailable:
        """Return an error with the end of the program's own output."""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return Unavailable("\n  ".join([f"{self.name} {what}; its last lines:", *lines]))

    def wait_for(self, url: str, limit_s: float = START_S) -> None:
        """Block until `url` answers 200; raises Unavailable when that does not come."""
        end = time.monotonic() + limit_s
        while not _is_ok(url):
            if self.process.poll() is not None:
                raise self.failure(f"ended with {self.process.returncode}")
            if time.monotonic() > end:
                raise self.failure(f"did not answer within {limit_s:g} s")
            time.sleep(0.2)  # a poll, bounded by the limit above


@contextmanager
def running(
    argv: Sequence[object],
    environ: Mapping[str, str],
    log: Path,
    stdin: int | None = None,
) -> Iterator[Program]:
    """Run a program until the block ends. Its stdout is the log too, unless `stdin` is a pipe."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in argv],
            env=environ,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=output if stdin is None else subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    try:
        yield Program(log.stem, process, log)
    finally:
        _end(process)


def end_on_sigterm() -> None:
    """Let SIGTERM, as `timeout` sends it, end this as Ctrl-C does: with what it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole group: an engine's parts outlive their parent."""
    _close(process.stdin)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDING_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(ENDING_S)
    _close(process.stdout)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with suppress(OSError):
            pipe.close()


def _is_ok(url: str) -> bool:
    # Whatever proxy the environment names is not for this machine's own ports.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as response:
            return bool(response.status == 200)
    except OSError:  # HTTPError is one too
        return False
