"""Owns the gateways that are measured: `python -m gateway` in its own environment, as a process."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contestants.program import running
from tests.ports import free_port

PYTHON = Path(__file__).parents[1] / ".venv" / "bin" / "python"
START_S = 60.0


@dataclass(frozen=True)
class Gateway:
    """A running, warm gateway."""

    port: int
    process: psutil.Process
    prompts_per_call: int
    """As it was set, or as the gateway measured it in its warm-up."""


@contextmanager
def gateway(engine_url: str, folder: Path, name: str, **environ: str) -> Iterator[Gateway]:
    """Run a gateway until the block ends; its log goes to `folder`/`name`.log.

    The caller's environment holds, so that a setting can be tried; `environ` wins.
    """
    if not PYTHON.exists():
        raise SystemExit(f"no {PYTHON.relative_to(PYTHON.parents[2])}: run scripts/bench")
    port = free_port()
    own = {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "ENGINE_URL": engine_url,
        "ENGINE_STATE_FILE": str(folder / "engine.json"),
        **environ,
    }
    argv = [PYTHON, "-m", "gateway"]
    with running(argv, {**os.environ, **own}, folder / f"{name}.log") as program:
        program.wait_for(f"http://127.0.0.1:{port}/", START_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            per_call = prompts_per_call(response.read().decode())
        print(f"{name}: {per_call} prompts per call", file=sys.stderr, flush=True)
        yield Gateway(port, psutil.Process(program.process.pid), per_call)


def prompts_per_call(metrics: str) -> int:
    """Read it from a page of the gateway's metrics; 1 where there is no such figure."""
    found = re.search(r"^evalgate_prompts_per_call (\S+)$", metrics, re.MULTILINE)
    return int(float(found.group(1))) if found else 1
