"""Runs the whole service as its user does: scripts/serve in a checkout, until Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.interrupt import held
from tests.ports import free_port

REPOSITORY = Path(__file__).parents[2]
# How much longer everything may take: scripts/test sets it where hundreds of tests run beside.
PATIENCE = float(os.environ.get("EVALGATE_TEST_PATIENCE", "1"))
# The evaluator's own health limit: what takes longer here would have failed there.
WARM_S = 180.0 * PATIENCE
DEADLINE_S = 200.0 * PATIENCE
ENDING_S = 20.0 * PATIENCE
# Longer than any deadline: a reply that does not come fails the test.
REPLY_S = 100.0 + DEADLINE_S
_LINKED = ("gateway", "launcher", "requirements", "requirements.txt", "policies")
_COPIED = ("supervisord.conf", "scripts")


class Stack:
    """One running service in a checkout of its own, with its ports."""

    def __init__(
        self, folder: Path, gateway_port: int, engine_port: int, max_files: int | None = None
    ) -> None:
        self.folder = folder
        limit = [] if max_files is None else ["sh", "-c", f'ulimit -n {max_files}; exec "$@"', "sh"]
        self.argv = [*limit, "scripts/serve"]
        self.gateway_url = f"http://127.0.0.1:{gateway_port}"
        self.engine_url = f"http://127.0.0.1:{engine_port}"
        self.console = folder / "console.log"
        self.environ = {
            **os.environ,
            "GATEWAY_PORT": str(gateway_port),
            "ENGINE_PORT": str(engine_port),
            # Both programs run in the test environment, on the oldest Python here.
            "EVALGATE_PYTHON": sys.executable,
            "PREDICT_DEADLINE_S": str(DEADLINE_S),
        }
        if PATIENCE > 1:
            # vLLM's threads would wait for one another in a loop, on cores that others need.
            self.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        self.environ.pop("MODEL_ID", None)
        self.environ.pop("MODEL_DIR", None)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run scripts/serve, as a terminal would: in a process group of its own."""
        with held(), self.console.open("ab") as output:
            self.process = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def interrupt(self) -> int:
        """Press Ctrl-C and wait for the end; return the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def end_politely(self) -> None:
        """Tell it to end, for then it leaves nothing; whoever calls this kills what stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDING_S)

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the gateway; status 0 when it cannot be reached."""
        return self._ask(urllib.request.Request(self.gateway_url + path))

    def text(self, path: str) -> str:
        """Ask the gateway for something that is not JSON."""
        with urllib.request.urlopen(self.gateway_url + path, timeout=60) as response:
            return str(response.read().decode())

    def predict(self, prompt: str | list[str], **fields: Any) -> Any:
        """Post to /predict and return the response, which must be a 200."""
        body = json.dumps({"prompt": prompt, **fields}).encode()
        status, answer = self._ask(urllib.request.Request(f"{self.gateway_url}/predict", body))
        assert status == 200, (status, answer)
        return answer["response"]

    @staticmethod
    def _ask(request: urllib.request.Request) -> tuple[int, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=REPLY_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as exc:
            return exc.code, json.load(exc)
        except OSError:
            return 0, None

    def wait_for(self, what: str, is_so: Callable[[], bool], limit_s: float = WARM_S) -> None:
        """Block until something is so; fails with the console's end when it does not come."""
        assert self.process is not None
        end = time.monotonic() + limit_s
        while not is_so():
            is_running = self.process.poll() is None
            if time.monotonic() > end or not is_running:
                tail = self.console.read_text(errors="replace")[-3000:]
                raise AssertionError(f"{what} did not come (running: {is_running}):\n{tail}")
            time.sleep(0.1)  # a poll, bounded by the limit above

    def wait_until_warm(self) -> None:
        """Block until `GET /` says 200."""
        self.wait_for("warmth", lambda: self.get("/")[0] == 200)

    def wait_until_cold(self) -> None:
        """Block until `GET /` does not say 200 any more."""
        self.wait_for("a 503", lambda: self.get("/")[0] == 503, 30)

    def supervisorctl(self, *arguments: str) -> str:
        """Run supervisorctl as documented and return what it prints."""
        return subprocess.run(
            [".venv/bin/supervisorctl", "-c", "supervisord.conf", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    def engine_state(self) -> dict[str, Any]:
        """Read what the guardian wrote."""
        state: dict[str, Any] = json.loads((self.folder / "run/engine.json").read_text())
        return state

    def processes(self) -> list[psutil.Process]:
        """Return every process of the service."""
        assert self.process is not None
        try:
            root = psutil.Process(self.process.pid)
        except psutil.NoSuchProcess:
            return []
        return [root, *root.children(recursive=True)]

    def orphans(self) -> list[psutil.Process]:
        """Return what is left of the engine when its guardian was killed, or all above it."""
        try:
            pid = self.engine_state()["pid"]
        except (OSError, ValueError, KeyError):
            return []
        # Not any group of that number: only one whose leader was started in this checkout.
        return [] if pid is None else [p for p in engine_group(pid) if _is_in(p, self.folder)]


def engine_group(pgid: int) -> list[psutil.Process]:
    """Return the processes of an engine's process group, whoever their parent is now."""

    def is_member(process: psutil.Process) -> bool:
        try:
            return os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    return [process for process in psutil.process_iter() if is_member(process)]


def _is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder.resolve()
    except psutil.Error:
        return False


@contextmanager
def running_stack(
    run_folder: Path | None = None, max_files: int | None = None, /, **environ: str
) -> Iterator[Stack]:
    """Start the service in a fresh checkout; whatever happens, nothing of it is left running.

    `run_folder` is where run/ then lies; `max_files` is the limit of open files around all of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="evalgate-"))  # short: a socket's path goes into it
    stack = Stack(folder, free_port(), free_port(), max_files)
    stack.environ.update(environ)
    seen: list[psutil.Process] = []
    try:
        _check_out(folder)
        if run_folder is not None:
            (folder / "run").symlink_to(run_folder)
        stack.start()
        yield stack
    finally:
        seen = [*stack.processes(), *stack.orphans()]
        stack.end_politely()
        for process in seen:
            if process.is_running():
                process.kill()
        psutil.wait_procs(seen, timeout=10)
        if stack.process is not None:
            stack.process.wait(10)
        if sys.exc_info()[0] is not None:
            print(stack.console.read_text(errors="replace")[-5000:])
        shutil.rmtree(folder, ignore_errors=True)


def _check_out(folder: Path) -> None:
    for name in _LINKED:
        (folder / name).symlink_to(REPOSITORY / name)
    for name in _COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
