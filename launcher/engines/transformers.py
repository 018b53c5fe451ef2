"""Owns the command line of `transformers serve`: the engine that needs no card and no vLLM.

Checked against transformers 5.19, and run here on a CPU. It batches continuously; the first
request's sampling is that of all.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher import served_name
from launcher.accelerator import Accelerator
from launcher.engines.base import Argv, Symptom
from launcher.engines.kind import EngineKind, Place
from launcher.engines.vllm import canary
from launcher.engines.vllm_errors import MAX_TEXT_CHARS
from launcher.ladder import Rung
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings

# Not the script: its first line may name another interpreter.
MODULE = "transformers.cli.transformers"
# What `transformers serve` imports beside transformers itself.
NEEDED = ("transformers", "accelerate", "fastapi", "uvicorn", "openai")
MIN_MAJOR = 5
# It takes torch's own names only.
_DTYPES = {"half": "float16", "float": "float32"}
# On a CPU it would take 90 % of the machine's memory: room for 32,768 tokens, of which a step reads
# as many as vLLM takes there.
_CPU_BLOCKS = 128
_CPU_BATCH_TOKENS = 2048
# Of what has no flag here, what changes the answers or the speed, and was set.
_WITHOUT_FLAG = (
    "max_model_len",
    "reasoning_parser",
    "stream_interval",
    "tensor_parallel_size",
    "vllm_kv_cache_dtype",
    "vllm_load_format",
    "vllm_max_num_seqs",
    "vllm_quantization",
)


def argv(settings: LauncherSettings, place: Place, rung: Rung, parts: Parts) -> Argv:
    """Return the command line; the model is named by its link in the working folder."""
    args = (
        *(str(place.python), "-m", MODULE, "serve", settings.served_model_name),
        *("--host", settings.engine_host),
        *("--port", str(settings.engine_port)),
        # It would write a line per request, beside uvicorn's.
        *("--log-level", "error"),
        *("--dtype", _DTYPES.get(settings.dtype, settings.dtype)),
        *("--device", "cpu" if place.accelerator is Accelerator.CPU else "auto"),
        *(("--trust-remote-code",) if settings.trust_remote_code else ()),
        *(("--compile",) if settings.vllm_enforce_eager is False else ()),
        *_batching(settings, place.accelerator),
        *shlex.split(settings.engine_extra_args if not rung.engine else ""),
    )
    return Argv(args, (*parts.dropped, *_dropped(settings)))


def working_dir(settings: LauncherSettings, model_dir: Path) -> Path:
    """Return the folder in which the model goes by its served name; makes it."""
    folder = settings.engine_state_file.parent / "served"
    return served_name.link(folder, settings.served_model_name, model_dir)


def is_ready_to_serve(packages: frozenset[str], versions: Mapping[str, str]) -> bool:
    """Whether an interpreter has all that `transformers serve` needs."""
    major = versions.get("transformers", "").partition(".")[0]
    return packages.issuperset(NEEDED) and major.isdigit() and int(major) >= MIN_MAJOR


def read_symptom(line: str) -> Symptom | None:
    """Return what a line of the log tells about a failure: its text, since nothing is tuned."""
    text = line.strip()
    is_error = text.partition(":")[0].endswith(("Error", "Exception")) and ": " in text
    return Symptom("other", text[:MAX_TEXT_CHARS]) if is_error else None


def environment(settings: LauncherSettings) -> Mapping[str, str]:
    """Let idle threads sleep, and look for no newer version over a network that may not be there.

    Spinning, they keep a shared processor from those that work: on two busy cores, 48 answers took
    4 s instead of more than 30.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}


def _batching(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[str]:
    yield "--continuous-batching"
    tokens = settings.vllm_max_num_batched_tokens
    if accelerator is Accelerator.CPU:
        yield from ("--cb-num-blocks", str(_CPU_BLOCKS))
        tokens = tokens or _CPU_BATCH_TOKENS
    elif "gpu_memory_utilization" in settings.model_fields_set:
        yield from ("--cb-max-memory-percent", str(settings.gpu_memory_utilization))
    if tokens is not None:
        yield from ("--cb-max-batch-tokens", str(tokens))


def _dropped(settings: LauncherSettings) -> Iterator[str]:
    asked = (name for name in _WITHOUT_FLAG if name in settings.model_fields_set)
    yield from (name.upper() for name in asked)
    if settings.engine_api_key is not None:
        yield "ENGINE_API_KEY"


KIND = EngineKind(
    name="transformers",
    title="transformers serve",
    package="transformers",
    distributions=("transformers",),
    argv=argv,
    environment=environment,
    # Its batching may die behind a server that goes on.
    is_health_proof=True,
    canary=canary,
    working_dir=working_dir,
    read_symptom=read_symptom,
)
