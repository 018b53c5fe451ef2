"""Runs `python -m gateway` as a process whose log goes to a file, in front of any engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.client import is_ready
from tests.chaos.interrupt import held
from tests.chaos.polling import NotSeen, wait_for
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 60.0


class GatewayProgram:
    """One gateway on a free port; `stop` and the end of this process leave nothing of it."""

    def __init__(self, folder: Path, environ: dict[str, str], max_files: int | None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "gateway.log"
        own = {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "HEALTH_INTERVAL_S": "0.1",
            "ENGINE_STATE_FILE": str(folder / "engine.json"),
        }
        self._environ = {**os.environ, **own, **environ}
        limit = [] if max_files is None else [*_limited(max_files)]
        self._argv = [*limit, sys.executable, "-m", "gateway"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it, again if it has ended."""
        with held(), self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd=REPOSITORY,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the matrix, which then ends this one.
                start_new_session=True,
            )

    def wait_until_warm(self) -> None:
        """Block until `GET /` says 200."""
        try:
            wait_for("a warm gateway", lambda: self._has_ended() or is_ready(self.url), START_S)
        except NotSeen as exc:
            raise NotSeen(f"{exc}: {self.log()[-1000:]}") from exc

    def _has_ended(self) -> bool:
        if self.process.poll() is None:
            return False
        raise NotSeen(f"the gateway ended with {self.process.returncode}: {self.log()[-1000:]}")

    def log(self) -> str:
        """Return what it has said so far."""
        return self.log_file.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask it to end as supervisord does."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _limited(max_files: int) -> list[str]:
    return ["sh", "-c", f'ulimit -n {max_files} && exec "$@"', "sh"]


@contextmanager
def gateway_program(
    engine_url: str, max_files: int | None = None, /, **environ: str
) -> Iterator[GatewayProgram]:
    """Run a warm gateway in front of an engine for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"ENGINE_URL": engine_url, **environ}
        gateway = GatewayProgram(Path(folder), wanted, max_files)
        try:
            gateway.start()
            gateway.wait_until_warm()
            yield gateway
        finally:
            gateway.kill()
