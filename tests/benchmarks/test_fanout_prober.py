"""The prober of `GET /`, as the process that it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.contestants.program import running
from benchmarks.fanout_measure import Prober

REPOSITORY = Path(__file__).parents[2]
FEW = 3


class Root(BaseHTTPRequestHandler):
    """Answers, and tells when it has answered a few times."""

    protocol_version = "HTTP/1.1"
    paths: list[str] = []
    are_few = threading.Event()

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if len(self.paths) >= FEW:
            self.are_few.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Root) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_prober_tells_how_long_each_answer_took(port: int, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "benchmarks.fanout_prober", str(port)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with running(argv, environ, tmp_path / "log", subprocess.PIPE) as program:
        prober = Prober(program)
        for _ in range(2):
            Root.paths.clear()
            Root.are_few.clear()

            prober.start()
            assert Root.are_few.wait(30)
            seconds = prober.stop()

            assert len(seconds) == len(Root.paths) >= FEW
            assert set(Root.paths) == {"/"}
            assert all(0 < each < 10 for each in seconds)
