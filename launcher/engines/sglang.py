"""Owns SGLang's command line: a pure function of the settings and of what the installed one knows.

Checked against the argument groups of SGLang 0.5.23 and the server arguments of its documentation;
not run here, for want of a card.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from launcher.accelerator import Accelerator
from launcher.engines.base import Argv, Capacity
from launcher.engines.kind import EngineKind, Place
from launcher.engines.options import Option, rendered, valued
from launcher.engines.sglang_log import read_symptom, tells_death
from launcher.engines.sglang_metrics import read_counters
from launcher.engines.vllm import canary
from launcher.ladder import Rung
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings

MODULE = "sglang.launch_server"
# In every SGLang since 0.4, so passed on also when the installed one does not tell what it knows.
STABLE_FLAGS = frozenset(
    {
        "--chunked-prefill-size",
        "--context-length",
        "--disable-cuda-graph",
        "--disable-radix-cache",
        "--dtype",
        "--enable-metrics",
        "--kv-cache-dtype",
        "--load-format",
        "--log-level-http",
        "--max-running-requests",
        "--mem-fraction-static",
        "--quantization",
        "--stream-interval",
        "--tp-size",
        "--trust-remote-code",
    }
)
_MODEL_IMPL = "--model-impl"
_ALGORITHMS = {
    "ngram": "NGRAM",
    "eagle": "EAGLE",
    "eagle3": "EAGLE3",
    "draft_model": "STANDALONE",
}
# The older spelling still works, with a warning; a newer version may drop it.
_EAGER = (
    ("--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"),
    ("--disable-cuda-graph",),
)


def argv(settings: LauncherSettings, place: Place, rung: Rung, parts: Parts) -> Argv:
    """Return the command line, without flags that the installed SGLang does not know."""
    known = STABLE_FLAGS if place.known_flags is None else place.known_flags
    args = [
        *(str(place.python), "-m", MODULE),
        *("--model-path", str(place.model_dir)),
        *("--served-model-name", settings.served_model_name),
        *("--host", settings.engine_host),
        *("--port", str(settings.engine_port)),
    ]
    told, dropped = rendered(_options(settings, place.accelerator, parts), known)
    relief, _ = rendered(_relief(rung), known)
    key = settings.engine_api_key
    args += told
    args += ("--api-key", key.get_secret_value()) if key is not None else ()
    args += [*shlex.split(settings.engine_extra_args), *relief]
    return Argv(tuple(args), (*parts.dropped, *dropped))


def capacity(args: Sequence[str], known_flags: frozenset[str] | None) -> Capacity:
    """Return what a command line gives the engine, whoever put it there."""
    length, requests = _last(args, "--context-length"), _last(args, "--max-running-requests")
    share = _last(args, "--mem-fraction-static")
    return Capacity(
        is_eager=any(spelling[0] in args for spelling in _EAGER),
        max_model_len=int(length) if length.isdigit() else None,
        max_num_seqs=int(requests) if requests.isdigit() else None,
        memory_share=float(share) if share.replace(".", "", 1).isdigit() else None,
        has_transformers=known_flags is not None and _MODEL_IMPL in known_flags,
    )


def _last(args: Sequence[str], flag: str) -> str:
    values = [value for name, value in zip(args, args[1:], strict=False) if name == flag]
    return values[-1] if values else ""


def _options(
    settings: LauncherSettings, accelerator: Accelerator, parts: Parts
) -> Iterator[Option]:
    # The launcher watches its counters; the gateway's log has a line per batch already.
    yield Option("", (("--enable-metrics",),))
    yield Option("", (("--log-level-http", "warning"),))
    yield from valued("STREAM_INTERVAL", "--stream-interval", settings.stream_interval)
    yield from valued("REASONING_PARSER", "--reasoning-parser", settings.reasoning_parser)
    yield from valued("DTYPE", "--dtype", settings.dtype)
    yield from valued("VLLM_QUANTIZATION", "--quantization", settings.vllm_quantization)
    yield from valued("VLLM_KV_CACHE_DTYPE", "--kv-cache-dtype", settings.vllm_kv_cache_dtype)
    yield from valued("VLLM_LOAD_FORMAT", "--load-format", settings.vllm_load_format)
    yield from _capacity_options(settings, accelerator)
    if settings.trust_remote_code:
        yield Option("TRUST_REMOTE_CODE", (("--trust-remote-code",),))
    if not settings.enable_prefix_caching:
        yield Option("ENABLE_PREFIX_CACHING", (("--disable-radix-cache",),))
    if settings.vllm_enforce_eager:
        yield Option("VLLM_ENFORCE_EAGER", _EAGER)
    yield from _speculation(settings, parts)


def _capacity_options(settings: LauncherSettings, accelerator: Accelerator) -> Iterator[Option]:
    # Its share counts weights and cache only: its own choice, by the card, is the better default.
    if "gpu_memory_utilization" in settings.model_fields_set and accelerator is not Accelerator.CPU:
        share = settings.gpu_memory_utilization
        yield from valued("GPU_MEMORY_UTILIZATION", "--mem-fraction-static", share)
    yield from valued("MAX_MODEL_LEN", "--context-length", settings.max_model_len)
    yield from valued("VLLM_MAX_NUM_SEQS", "--max-running-requests", settings.vllm_max_num_seqs)
    tokens = settings.vllm_max_num_batched_tokens
    yield from valued("VLLM_MAX_NUM_BATCHED_TOKENS", "--chunked-prefill-size", tokens)
    if settings.tensor_parallel_size > 1:
        yield from valued("TENSOR_PARALLEL_SIZE", "--tp-size", settings.tensor_parallel_size)


def _speculation(settings: LauncherSettings, parts: Parts) -> Iterator[Option]:
    if not parts.is_speculating:
        return
    algorithm = _ALGORITHMS.get(settings.spec_method)
    flags: tuple[str, ...] = ("--speculative-algorithm", algorithm or "")
    if parts.draft is not None:
        flags += ("--speculative-draft-model-path", str(parts.draft))
    if settings.spec_method == "ngram":
        flags += ("--speculative-num-draft-tokens", str(settings.spec_num_tokens))
    # What it has no algorithm for has no spelling, and is told as dropped.
    yield Option("ENABLE_SPECULATIVE_DECODING", (flags,) if algorithm is not None else ())


def _relief(rung: Rung) -> Iterator[Option]:
    if rung.is_eager:
        yield Option("", _EAGER)
    yield from valued("", "--context-length", rung.max_model_len)
    yield from valued("", "--max-running-requests", rung.max_num_seqs)
    yield from valued("", "--mem-fraction-static", rung.memory_share)
    if rung.is_transformers:
        yield Option("", ((_MODEL_IMPL, "transformers"),))


KIND = EngineKind(
    name="sglang",
    title="SGLang",
    package="sglang",
    distributions=("sglang",),
    argv=argv,
    capacity=capacity,
    canary=canary,
    can_speculate=True,
    flags_module=MODULE,
    # It makes a token, so that it takes a second; a hung scheduler fails it.
    health_path="/health",
    is_health_proof=True,
    read_counters=read_counters,
    read_symptom=read_symptom,
    tells_death=tells_death,
)
