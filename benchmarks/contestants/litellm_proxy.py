"""LiteLLM's proxy before the same engine, in an environment of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants.contestant import MODEL, Ask, completions_at
from benchmarks.contestants.environment import environment
from benchmarks.contestants.program import Program, running
from tests.ports import free_port

REQUIREMENTS = "bench-litellm.txt"


@contextmanager
def started(engine_url: str, folder: Path) -> Iterator[Callable[[], Ask]]:
    """Start it; what is given back waits until it answers."""
    with serving(engine_url, folder) as (program, url):
        yield lambda: _ready(program, url)


@contextmanager
def serving(engine_url: str, folder: Path) -> Iterator[tuple[Program, str]]:
    """Start it; give back the process and its URL, which may not answer yet."""
    litellm = environment(REQUIREMENTS) / "litellm"
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(configuration(engine_url)))  # JSON is YAML too
    argv = [str(litellm), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Its price list comes with it: no look-up in the network.
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with running(argv, environ, folder / "litellm.log") as program:
        yield program, f"http://127.0.0.1:{port}"


def configuration(engine_url: str) -> dict[str, object]:
    """Return the proxy's configuration: one model, the engine's, and no telemetry."""
    upstream = {"model": f"hosted_vllm/{MODEL}", "api_base": f"{engine_url}/v1", "api_key": "none"}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        # On loopback for minutes; a check of keys would be work that no other contestant has.
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }


def wait_until_ready(program: Program, url: str) -> None:
    """Block until it answers; raises Unavailable."""
    program.wait_for(f"{url}/health/liveliness")


def _ready(program: Program, url: str) -> Ask:
    wait_until_ready(program, url)
    return completions_at(url)
