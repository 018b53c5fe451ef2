"""A `serve.py` of the usual kind: the engine in process behind one FastAPI route."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants.contestant import Ask, predict_at
from benchmarks.contestants.program import Program, running
from benchmarks.engine_arguments import llm_arguments
from launcher.engines.base import EnginePlan
from tests.ports import free_port


@contextmanager
def started(plan: EnginePlan, folder: Path) -> Iterator[Callable[[], Ask]]:
    """Start it in the engine's interpreter; what is given back waits until it answers."""
    port = free_port()
    serve = ["--app-dir", str(Path(__file__).parent), "--port", str(port), "--log-level", "warning"]
    argv = [plan.argv[0], "-m", "uvicorn", "usual_serve:app", *serve]
    environ = {**os.environ, **plan.env, "LLM_ARGUMENTS": json.dumps(llm_arguments(plan))}
    with running(argv, environ, folder / "serve.log") as program:
        yield lambda: _ready(program, f"http://127.0.0.1:{port}")


def _ready(program: Program, url: str) -> Ask:
    program.wait_for(url)
    return predict_at(url)
