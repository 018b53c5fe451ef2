"""Fake engines for tests: start one, ask it what it saw, tell it what to do, end it.

`FakeEngine` owns the process; `Control` talks to one that somebody else started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import anyio.to_thread

from tests.fakes.script import Rule, Script
from tests.fakes.script_json import to_json
from tests.fakes.stats import Stats
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.01
GRACE_S = 2.0


def as_script(script: Script | Sequence[Rule] | None) -> Script:
    """Return a script, given as itself, as its rules, or as nothing special."""
    if isinstance(script, Script):
        return script
    return Script(rules=tuple(script or ()))


class Control:
    """The controls of a fake engine on a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        """Call one control and block until it answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, f"/_fake/{path}", body)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"/_fake/{path}: {answer.status} {text.decode()}")
        value: dict[str, Any] = json.loads(text)
        return value

    def read_stats(self) -> Stats:
        """Block until the stats are here."""
        return Stats(**self.ask("GET", "stats"))

    async def stats(self) -> Stats:
        """Return what the engine has seen."""
        return await anyio.to_thread.run_sync(self.read_stats)

    async def reset_stats(self) -> None:
        """Start counting anew."""
        await anyio.to_thread.run_sync(self.ask, "POST", "reset_stats")

    async def set_script(self, script: Script | Sequence[Rule]) -> None:
        """Replace the script; requests under way keep the action that they met."""
        text = to_json(as_script(script))
        await anyio.to_thread.run_sync(self.ask, "POST", "script", text)

    async def release(self) -> None:
        """Let the requests go that a `Hold` keeps right now."""
        await anyio.to_thread.run_sync(self.ask, "POST", "release")

    async def wait_until(self, is_so: Callable[[Stats], bool], deadline_s: float = 10.0) -> Stats:
        """Return the first stats for which `is_so`; raises TimeoutError, with the last ones."""
        deadline = time.monotonic() + deadline_s
        while not is_so(stats := await self.stats()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so within {deadline_s} s: {stats}")
            await anyio.sleep(POLL_S)
        return stats


class FakeEngine(Control):
    """A fake engine in a process group of its own, ended with the block or with this process."""

    def __init__(self, port: int, arguments: Sequence[str], deadline_s: float) -> None:
        super().__init__(port)
        self._arguments = list(arguments)
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        script: Script | Sequence[Rule] | None = None,
        *,
        port: int = 0,
        arguments: Sequence[str] = (),
        deadline_s: float = 20.0,
    ) -> FakeEngine:
        """Start the program and block until its port is there.

        The port accepts connections then, unless the script has it refuse them at first.
        """
        engine = cls(port or free_port(), arguments, deadline_s)  # `start_again` takes it once more
        engine.start_again(script)
        return engine

    def start_again(self, script: Script | Sequence[Rule] | None = None) -> None:
        """Start a new process on the same port, after `stop`, `kill` or an end of its own."""
        self.close()
        with tempfile.TemporaryDirectory() as folder:
            port_file = Path(folder, "port")
            own = ["--port", str(self.port), "--port-file", str(port_file), "--until-stdin-closes"]
            own += ["--script-json", to_json(as_script(script))]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.engine", *own, *self._arguments],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # its one line, for people, tells the port
                start_new_session=True,
            )
            self.port = self._wait_for_port(port_file)

    def _wait_for_port(self, port_file: Path) -> int:
        deadline = time.monotonic() + self._deadline_s
        while not port_file.exists():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"the fake engine did not start: exit code {code}")
            time.sleep(POLL_S)
        return int(port_file.read_text())

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """The process id, also of its group."""
        return self.process.pid

    def wait(self, deadline_s: float = 10.0) -> int:
        """Block until the process has ended by itself; return its exit code."""
        return self.process.wait(deadline_s)

    def stop(self) -> int:
        """Send SIGTERM and block until it has ended; return the exit code."""
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL to the process, not to its children, and block until it has ended."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process as a hung one is: connections are accepted, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process and all of its group: politely first, then whatever they do."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.thaw()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
