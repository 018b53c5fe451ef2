"""Owns the question how many sequences fit into memory beside the weights. It asks no device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import model_sizes as sizes
from launcher.checks import kv_cache
from launcher.checks.result import Result, failure, ok, skipped, warning

NAME = "memory"
# What vLLM sets aside for activations and graphs: 1 to 2 GiB, more with a large vocabulary.
WORKSPACE_BYTES = 2 * 2**30
# A question with its system prompt; course questions are far shorter.
PROMPT_TOKENS = 512


@dataclass(frozen=True)
class Device:
    """The memory that weights and KV cache share, `share` of it for the engine."""

    name: str
    total_bytes: int
    share: float
    # On a processor the engine is told a size; on a card it takes what is left.
    kv_cache_bytes: int | None = None

    @property
    def usable_bytes(self) -> int:
        """What the engine takes."""
        return int(self.total_bytes * self.share)


@dataclass(frozen=True)
class Demand:
    """What is asked of the memory."""

    weights_bytes: int
    config: Mapping[str, Any]
    dtype: str
    kv_cache_dtype: str | None
    # Set, or declared by the model; None when neither.
    context_len: int | None
    concurrency: int
    max_new_tokens: int
    # Of what is served with the model: a draft keeps a cache of its own.
    part_configs: tuple[Mapping[str, Any], ...] = ()

    @property
    def bytes_per_token(self) -> int | None:
        """The KV cache of one token; None when config.json does not tell."""
        formats = (self.kv_cache_dtype, self.dtype)
        own = kv_cache.bytes_per_token(self.config, *formats)
        if own is None:
            return None
        return own + sum(kv_cache.bytes_per_token(c, *formats) or 0 for c in self.part_configs)

    @property
    def usual_len(self) -> int:
        """The tokens of a question and its longest answer."""
        wanted = PROMPT_TOKENS + self.max_new_tokens
        return min(wanted, self.context_len or wanted)


def check(device: Device | None, demand: Demand | None, why_not: str = "") -> Result:
    """Say how many sequences fit; `why_not` says why the device or the demand is not known."""
    if device is None or demand is None:
        return skipped(NAME, why_not)
    weights = kv_cache.loaded_bytes(demand.weights_bytes, demand.config, demand.dtype)
    needed = weights + (device.kv_cache_bytes or 0)
    limit = f"{sizes.binary(device.usable_bytes)} of {device.name}"
    told = f"weights {sizes.binary(weights)}"
    room = _room(device, weights)
    if needed > device.usable_bytes or room <= 0:
        return failure(NAME, f"{told}: nothing is left for the KV cache", _LESS, limit)
    told = f"{told}, {sizes.binary(room)} for the KV cache"
    per_token = demand.bytes_per_token
    if not per_token:  # not told, or a model whose state does not grow
        return ok(NAME, f"{told}; config.json does not tell how many sequences fit", limit)
    return _judge(demand, room // per_token, f"{told} ({sizes.binary(per_token)} a token)", limit)


_LESS = (
    "use a smaller or quantized model, VLLM_KV_CACHE_DTYPE=fp8 where the card can, "
    "or spread it over more cards (TENSOR_PARALLEL_SIZE)"
)


def _room(device: Device, weights: int) -> int:
    if device.kv_cache_bytes is not None:
        return device.kv_cache_bytes
    return device.usable_bytes - weights - WORKSPACE_BYTES


def _judge(demand: Demand, tokens: int, told: str, limit: str) -> Result:
    context = demand.context_len
    if context is not None and tokens < context:
        return failure(
            NAME,
            f"{told}: {tokens:,} tokens, less than one sequence of {context:,}",
            f"set MAX_MODEL_LEN to at most {tokens}: vLLM does not start with less room",
            limit,
        )
    whole = f"{tokens // context:,} sequences of all {context:,} tokens, " if context else ""
    usual = tokens // demand.usual_len
    told = f"{told}: {whole}{usual:,} of {demand.usual_len:,}"
    if usual < demand.concurrency:
        return warning(
            NAME,
            f"{told}, fewer than the {demand.concurrency} under way at once: the rest queue",
            "lower MAX_NEW_TOKENS or MAX_MODEL_LEN, or accept the queue",
            limit,
        )
    return ok(NAME, f"{told}; {demand.concurrency} under way at once fit", limit)


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return what is free for a new program on this machine; None when it does not tell."""
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(found[1]) * 1024 if len(found) > 1 and found[1].isdigit() else None
