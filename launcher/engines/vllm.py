"""Owns vLLM's command line: a pure function of the settings and of what the installed one knows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.accelerator import Accelerator
from launcher.engines.base import Argv
from launcher.settings import LauncherSettings

# Not the `vllm` script: it cannot find its own version when the distribution has another name.
MODULE = "vllm.entrypoints.openai.api_server"
HEALTH_PATH = "/health"

# In every vLLM since 0.6, so passed on also when the installed one does not tell what it knows.
STABLE_FLAGS = frozenset(
    {
        "--dtype",
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
# A batch of questions is as wide; vLLM 0.32 chooses 128 on a CPU, and small models have room.
_CPU_MAX_NUM_SEQS = 256


@dataclass(frozen=True)
class _Option:
    """A flag with its values, and older or newer spellings that mean the same."""

    setting: str
    spellings: tuple[tuple[str, ...], ...]

    def render(self, known: frozenset[str]) -> tuple[str, ...] | None:
        """Return the first spelling that the engine knows."""
        return next((spelling for spelling in self.spellings if spelling[0] in known), None)


def argv(
    settings: LauncherSettings,
    engine_python: Path,
    model_dir: Path,
    accelerator: Accelerator,
    known_flags: frozenset[str] | None,
) -> Argv:
    """Return the command line, without flags that are not in `known_flags`.

    `known_flags` None (the engine did not tell): only flags that every version has.
    """
    known = STABLE_FLAGS if known_flags is None else known_flags
    args = [
        *(str(engine_python), "-m", MODULE),
        *("--model", str(model_dir)),
        *("--served-model-name", settings.served_model_name),
        *("--host", settings.engine_host),
        *("--port", str(settings.engine_port)),
    ]
    dropped = []
    for option in _options(settings, accelerator):
        spelling = option.render(known)
        args += spelling or ()
        if spelling is None and option.setting:
            dropped.append(option.setting)
    if accelerator is Accelerator.CPU and "gpu_memory_utilization" in settings.model_fields_set:
        dropped.append("GPU_MEMORY_UTILIZATION")  # CPU_KV_CACHE_GIB has that part there
    return Argv((*args, *shlex.split(settings.engine_extra_args)), tuple(dropped))


def _options(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[_Option]:
    yield from _logging()
    yield from _precision(settings, accelerator)
    yield from _capacity(settings, accelerator)
    yield from _switches(settings, accelerator)
    yield from _speculation(settings)


def _logging() -> Iterator[_Option]:
    """A line per request would be most of the log, and the gateway has one per batch."""
    yield _Option("", (("--disable-uvicorn-access-log",),))
    # Up to 0.10 requests were logged unless told not to; later only when told to.
    yield _Option("", (("--no-enable-log-requests",), ("--disable-log-requests",)))
    yield _Option("", (("--uvicorn-log-level", "warning"),))


def _precision(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[_Option]:
    is_cpu = accelerator is Accelerator.CPU
    dtype = "bfloat16" if is_cpu and settings.dtype == "auto" else settings.dtype
    yield from _valued("DTYPE", "--dtype", dtype)
    yield from _valued("VLLM_QUANTIZATION", "--quantization", settings.vllm_quantization)
    yield from _valued("VLLM_KV_CACHE_DTYPE", "--kv-cache-dtype", settings.vllm_kv_cache_dtype)
    yield from _valued("VLLM_LOAD_FORMAT", "--load-format", settings.vllm_load_format)


def _capacity(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[_Option]:
    max_num_seqs = settings.vllm_max_num_seqs
    if accelerator is Accelerator.CPU:
        max_num_seqs = max_num_seqs or _CPU_MAX_NUM_SEQS
    else:
        share = settings.gpu_memory_utilization
        yield from _valued("GPU_MEMORY_UTILIZATION", "--gpu-memory-utilization", share)
    yield from _valued("MAX_MODEL_LEN", "--max-model-len", settings.max_model_len)
    yield from _valued("VLLM_MAX_NUM_SEQS", "--max-num-seqs", max_num_seqs)
    yield from _valued(
        "VLLM_MAX_NUM_BATCHED_TOKENS",
        "--max-num-batched-tokens",
        settings.vllm_max_num_batched_tokens,
    )
    if settings.tensor_parallel_size > 1:
        yield from _valued(
            "TENSOR_PARALLEL_SIZE", "--tensor-parallel-size", settings.tensor_parallel_size
        )


def _switches(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[_Option]:
    is_eager = settings.vllm_enforce_eager
    if is_eager is None and accelerator is Accelerator.CPU:
        is_eager = True  # starts in 25 s instead of 60 s
    if settings.trust_remote_code:
        yield _Option("TRUST_REMOTE_CODE", (("--trust-remote-code",),))
    yield from _switch("ENABLE_PREFIX_CACHING", "prefix-caching", settings.enable_prefix_caching)
    if is_eager:
        yield _Option("VLLM_ENFORCE_EAGER", (("--enforce-eager",),))


def _speculation(settings: LauncherSettings) -> Iterator[_Option]:
    if not settings.enable_speculative_decoding:
        return
    config: dict[str, object] = {
        "method": settings.spec_method,
        "num_speculative_tokens": settings.spec_num_tokens,
    }
    if settings.spec_method == "ngram":
        config["prompt_lookup_max"] = settings.spec_prompt_lookup_max
        config["prompt_lookup_min"] = settings.spec_prompt_lookup_min
    elif settings.spec_model_dir is not None:
        config["model"] = str(settings.spec_model_dir.absolute())
    flag = "--speculative-config"
    yield _Option("ENABLE_SPECULATIVE_DECODING", ((flag, json.dumps(config)),))


def _valued(setting: str, flag: str, value: object) -> Iterator[_Option]:
    if value is not None:
        yield _Option(setting, ((flag, str(value)),))


def _switch(setting: str, name: str, is_on: bool) -> Iterator[_Option]:
    yield _Option(setting, ((f"--enable-{name}" if is_on else f"--no-enable-{name}",),))
