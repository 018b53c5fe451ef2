"""vllm-router, the Rust load balancer of the vLLM project, before the same engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants.contestant import Ask, completions_at
from benchmarks.contestants.environment import environment
from benchmarks.contestants.program import Program, running
from tests.ports import free_port

REQUIREMENTS = "bench-router.txt"


@contextmanager
def started(engine_url: str, folder: Path) -> Iterator[Callable[[], Ask]]:
    """Start it; what is given back waits until it answers."""
    with serving(engine_url, folder) as (program, url):
        yield lambda: _ready(program, url)


@contextmanager
def serving(engine_url: str, folder: Path) -> Iterator[tuple[Program, str]]:
    """Start it; give back the process and its URL, which may not answer yet."""
    router = environment(REQUIREMENTS) / "vllm-router"
    port, metrics_port = free_port(), free_port()
    argv = [
        *(str(router), "--worker-urls", engine_url, "--policy", "round_robin"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--prometheus-port", str(metrics_port), "--log-level", "warning"),
    ]
    with running(argv, os.environ, folder / "vllm-router.log") as program:
        yield program, f"http://127.0.0.1:{port}"


def wait_until_ready(program: Program, url: str) -> None:
    """Block until it answers; raises Unavailable."""
    program.wait_for(f"{url}/health")


def _ready(program: Program, url: str) -> Ask:
    wait_until_ready(program, url)
    return completions_at(url)
