"""Owns Triton's two command lines: its OpenAI frontend, and the plain server's generate extension.

Checked against the frontend's main.py and the server's command_line_parser.cc (2026-08); not run
here, for want of a card. TecoInferenceEngine is a backend of such a server.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launcher.engines.base import Argv, Question
from launcher.engines.kind import EngineKind, Place
from launcher.engines.transformers import read_symptom
from launcher.engines.vllm import canary
from launcher.errors import CannotStart
from launcher.ladder import Rung
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings

# Where NVIDIA's images have them.
FRONTEND = Path("/opt/tritonserver/python/openai/openai_frontend/main.py")
SERVER = Path("/opt/tritonserver/bin/tritonserver")
# Everything about how a model is run stands in its repository, config.pbtxt and model.json.
_IN_THE_REPOSITORY = (
    "dtype",
    "enable_prefix_caching",
    "gpu_memory_utilization",
    "lora_dir",
    "lora_id",
    "max_model_len",
    "reasoning_parser",
    "stream_interval",
    "tensor_parallel_size",
    "trust_remote_code",
    "vllm_enforce_eager",
    "vllm_kv_cache_dtype",
    "vllm_load_format",
    "vllm_max_num_batched_tokens",
    "vllm_max_num_seqs",
    "vllm_quantization",
)


def chat_argv(settings: LauncherSettings, place: Place, rung: Rung, parts: Parts) -> Argv:
    """Return the OpenAI frontend's command line; MODEL_DIR is its tokenizer."""
    repository = _repository(settings)
    args = (
        *(str(place.python), str(settings.triton_program or FRONTEND)),
        *("--model-repository", str(repository)),
        *(("--tokenizer", str(place.model_dir)) if place.model_dir != repository else ()),
        *("--host", settings.engine_host),
        *("--openai-port", str(settings.engine_port)),
        *("--uvicorn-log-level", "warning"),
        *shlex.split(settings.engine_extra_args),
    )
    return Argv(args, tuple(_dropped(settings)))


def generate_argv(settings: LauncherSettings, place: Place, rung: Rung, parts: Parts) -> Argv:
    """Return the plain server's command line; gRPC and metrics take the two ports after its own.

    Their own defaults, 8001 and 8002, are where the engine is expected.
    """
    args = (
        str(_server(settings)),
        f"--model-repository={_repository(settings)}",
        f"--http-address={settings.engine_host}",
        f"--http-port={settings.engine_port}",
        f"--grpc-port={settings.engine_port + 1}",
        f"--metrics-port={settings.engine_port + 2}",
        *shlex.split(settings.engine_extra_args),
    )
    return Argv(args, tuple(_dropped(settings)))


def generate_canary(settings: LauncherSettings) -> Question:
    """Return a question of one token, asked the way the gateway asks."""
    path = f"/v2/models/{settings.served_model_name}/generate"
    return Question(path, json.dumps({"text_input": ".", "max_tokens": 1}).encode())


def _repository(settings: LauncherSettings) -> Path:
    assert settings.triton_model_repository is not None, "the settings were checked"
    return settings.triton_model_repository.absolute()


def _server(settings: LauncherSettings) -> Path:
    if settings.triton_program is not None:
        return settings.triton_program
    found = shutil.which("tritonserver") or (SERVER if SERVER.is_file() else None)
    if found is None:
        raise CannotStart("no tritonserver on PATH or at its usual place; set TRITON_PROGRAM")
    return Path(found)


def _dropped(settings: LauncherSettings) -> Iterator[str]:
    asked = (name for name in _IN_THE_REPOSITORY if name in settings.model_fields_set)
    yield from (f"{name.upper()} (it is the model repository's)" for name in asked)


CHAT = EngineKind(
    name="triton",
    title="Triton's OpenAI frontend",
    package="tritonserver",
    distributions=("tritonserver",),
    argv=chat_argv,
    canary=canary,
    has_own_models=True,
    is_script=True,
    health_path="/health/ready",
    read_symptom=read_symptom,
)
GENERATE = replace(
    CHAT,
    title="Triton",
    package="",
    is_script=False,
    argv=generate_argv,
    canary=generate_canary,
    health_path="/v2/health/ready",
)
