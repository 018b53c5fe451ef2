"""Runs the image as an evaluator does: detached, without a network, asked from inside of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.polling import wait_for
from tests.container.tools import output_of, podman

REPOSITORY = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8000"
# What docker sets is more than a machine may allow: the limits of a plain shell.
_LIMITS = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096")
_ASK = """
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
body = sys.stdin.buffer.read() or None
try:
    with opener.open(urllib.request.Request(sys.argv[1], body), timeout=300) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as exc:
    print(exc.code, exc.read().decode())
except OSError as exc:
    print(0, exc)
"""


class Container:
    """One container of the image."""

    def __init__(self, name: str, started_at: float) -> None:
        self.name = name
        self.started_at = started_at
        state = self.state()
        self.pid = int(state["Pid"])
        self.namespace = _namespace(self.pid)

    def state(self) -> dict[str, Any]:
        """Return what podman knows of it."""
        told = output_of(podman("inspect", "--format", "{{json .State}}", self.name))
        state: dict[str, Any] = json.loads(told)
        return state

    def inside(self, *argv: str) -> list[str]:
        """Return a command line that runs in its network, with this machine's files."""
        return ["nsenter", "--target", str(self.pid), "--net", "--", *argv]

    def execute(self, *argv: str) -> str:
        """Run a command in it; return its output."""
        return output_of(podman("exec", self.name, *argv))

    def ask(self, path: str, body: object = None) -> tuple[int, str]:
        """Send a request from its network; status 0 when nobody answers."""
        sent = b"" if body is None else json.dumps(body).encode()
        done = subprocess.run(
            self.inside(sys.executable, "-I", "-c", _ASK, URL + path),
            input=sent,
            capture_output=True,
            check=True,
            timeout=360,
        )
        status, _, text = done.stdout.decode().partition(" ")
        return int(status), text.removesuffix("\n")

    def predict(self, prompts: Sequence[str]) -> list[str]:
        """Post a batch, which must be answered."""
        status, text = self.ask("/predict", {"prompt": list(prompts)})
        assert status == 200, (status, text)
        answers: list[str] = json.loads(text)["response"]
        return answers

    def wait_until_warm(self, limit_s: float) -> float:
        """Block until `GET /` says 200; return the seconds since the start."""
        wait_for(f"health of {self.name}", self._is_warm, limit_s, poll_s=0.5)
        return time.monotonic() - self.started_at

    def _is_warm(self) -> bool:
        assert _namespace(self.pid) == self.namespace, f"it has ended:\n{self.logs()[-4000:]}"
        return self.ask("/")[0] == 200

    def logs(self) -> str:
        """Return what it has written on its console."""
        argv = podman("logs", self.name)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    def engine_state(self) -> dict[str, Any]:
        """Read what the guardian wrote."""
        state: dict[str, Any] = json.loads(self.execute("cat", "run/engine.json"))
        return state

    def processes(self) -> dict[int, str]:
        """Return its processes, zombies too: the machine's pid, and the state in one letter."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        found = {pid: _state(pid) for pid in pids if _namespace(pid) == self.namespace}
        return {pid: state for pid, state in found.items() if state}

    def stop(self, limit_s: int) -> float:
        """Stop it as `docker stop` does; return the seconds that it took."""
        start = time.monotonic()
        output_of(podman("stop", "--time", str(limit_s), self.name))
        return time.monotonic() - start


@contextmanager
def running(image: str, *command: str, **environ: str) -> Iterator[Container]:
    """Run an image without a network; it is gone after the block."""
    told = [part for item in environ.items() for part in ("--env", "=".join(item))]
    options = ["--detach", "--network=none", "--log-driver", "k8s-file", *_LIMITS, *told]
    start = time.monotonic()
    name = output_of(podman("run", *options, image, *command)).strip()[:12]
    try:
        container = Container(name, start)
        yield container
    except BaseException:
        argv = podman("logs", "--tail", "60", name)
        subprocess.run(argv, check=False, stdout=sys.stderr, stderr=sys.stderr)
        raise
    finally:
        subprocess.run(podman("rm", "--force", name), check=False, stdout=subprocess.DEVNULL)


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]
