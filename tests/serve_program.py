"""Runs `uvicorn serve:app` in a checkout of its own, with the fake engine where vLLM would be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.client import Reply, get
from tests.chaos.interrupt import held
from tests.chaos.polling import wait_for
from tests.fakes.engine_python import engine_python
from tests.fakes.model_files import model_files, write_model
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT_S = 60.0
_LINKED = ("gateway", "launcher", "policies")
_COPIED = ("serve.py", "supervisord.conf")


class ServeProgram:
    """One uvicorn, and what it runs beneath it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.console = folder / "console.log"
        self.environ = {
            **os.environ,
            "ENGINE_PORT": str(free_port()),
            "MODEL_DIR": str(folder / "model"),
            "EVALGATE_CACHE": str(folder / "cache"),
            "HEALTH_INTERVAL_S": "0.1",
            **environ,
        }
        self.environ.pop("EVALGATE_PYTHON", None)
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[psutil.Process] = set()

    def start(self, port: int | None = None) -> subprocess.Popen[bytes]:
        """Run the documented command, on a free port."""
        address = ["--host", "127.0.0.1", "--port", str(port or self.port)]
        with held(), self.console.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "serve:app", *address],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def get(self, path: str) -> Reply:
        """Ask the gateway."""
        return get(self.url, path)

    def wait_until_warm(self) -> None:
        """Block until `GET /` says 200."""
        self.wait_for("warmth", lambda: self.get("/").status == 200)

    def wait_for(self, what: str, is_so: Any) -> None:
        """Block until something is so; on failure, show what was told."""
        try:
            wait_for(what, is_so, LIMIT_S)
        except AssertionError as exc:
            raise AssertionError(f"{exc}:\n{self.told()[-4000:]}") from exc

    def told(self) -> str:
        """Return what all of it has written so far."""
        logs = [self.console, *sorted((self.folder / "run/logs").glob("*.log"))]
        return "\n".join(log.read_text(errors="replace") for log in logs if log.exists())

    def engine_state(self) -> dict[str, Any]:
        """Read what the guardian wrote; empty before it has."""
        try:
            state: dict[str, Any] = json.loads((self.folder / "run/engine.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def processes(self) -> set[psutil.Process]:
        """Return all that run in this checkout, whoever their parent is."""
        found = {process for process in psutil.process_iter() if _is_in(process, self.folder)}
        self.seen |= found
        return found

    def wait_until_gone(self) -> None:
        """Block until nothing of it runs."""
        self.wait_for("the end of all", lambda: not self.processes())


def _is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return not is_zombie and Path(process.cwd()) == folder.resolve()
    except (psutil.Error, OSError):
        return False


@contextmanager
def serve_program(*engine_arguments: str, **environ: str) -> Iterator[ServeProgram]:
    """Prepare a checkout; whatever a test starts in it is gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="evalgate-"))  # short: a socket's path goes into it
    for name in _LINKED:
        (folder / name).symlink_to(REPOSITORY / name)
    for name in _COPIED:
        shutil.copy(REPOSITORY / name, folder / name)
    write_model(folder / "model", model_files())
    python = engine_python(folder / "engine-python", *engine_arguments)
    program = ServeProgram(folder, {"ENGINE_PYTHON": str(python), **environ})
    try:
        yield program
    finally:
        left = program.processes()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(list(left), timeout=10)
        if program.process is not None:
            program.process.kill()
            program.process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
