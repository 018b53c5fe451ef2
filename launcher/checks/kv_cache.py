"""Owns how much memory a token of context takes: a pure function of a model's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "bfloat16": 2, "half": 2}
# Their state does not grow with the context.
_STATELESS = ("linear", "mamba", "conv", "recurrent")


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part that describes the language model, of one that also sees or hears."""
    inner = config.get("text_config")
    if "num_hidden_layers" not in config and isinstance(inner, dict):
        return inner
    return config


def weight_dtype(config: Mapping[str, Any]) -> str:
    """Return the number format that the weights are declared in; bfloat16 when not told."""
    for part in (config, text_config(config)):
        for key in ("torch_dtype", "dtype"):
            # Some write "torch.bfloat16".
            name = str(part.get(key)).removeprefix("torch.")
            if name in _DTYPE_BYTES:
                return name
    return "bfloat16"


def is_quantized(config: Mapping[str, Any]) -> bool:
    """Whether the files hold weights in fewer bits than config.json's number format says."""
    return isinstance(config.get("quantization_config"), dict)


def loaded_bytes(file_bytes: int, config: Mapping[str, Any], dtype: str) -> int:
    """Return what the weights take once loaded: vLLM's `auto` turns float32 into 16 bits."""
    if is_quantized(config):
        return file_bytes
    stored = _DTYPE_BYTES[weight_dtype(config)]
    loaded = min(stored, 2) if dtype == "auto" else _DTYPE_BYTES[dtype]
    return file_bytes * loaded // stored


def bytes_per_token(
    config: Mapping[str, Any], kv_cache_dtype: str | None, dtype: str
) -> int | None:
    """Return the KV cache of one token over all layers; None when config.json does not tell.

    2 (key and value) x layers x key-value heads x head size x bytes per number.
    """
    part = text_config(config)
    layers = _caching_layers(part)
    numbers = _numbers_per_layer(part)
    if layers is None or numbers is None:
        return None
    return layers * numbers * _number_bytes(kv_cache_dtype, dtype)


def _number_bytes(kv_cache_dtype: str | None, dtype: str) -> int:
    name = kv_cache_dtype or "auto"
    if name.startswith(("fp8", "int8")):
        return 1
    if name in _DTYPE_BYTES:
        return _DTYPE_BYTES[name]
    return _DTYPE_BYTES.get(dtype, 2)


def _caching_layers(part: Mapping[str, Any]) -> int | None:
    kinds = part.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return sum(not any(word in str(kind) for word in _STATELESS) for kind in kinds)
    return _positive(part.get("num_hidden_layers"))


def _numbers_per_layer(part: Mapping[str, Any]) -> int | None:
    rank = _positive(part.get("kv_lora_rank"))
    if rank is not None:  # multi-head latent attention: one compressed vector for key and value
        return rank + (_positive(part.get("qk_rope_head_dim")) or 0)
    heads = _positive(part.get("num_attention_heads"))
    kv_heads = _positive(part.get("num_key_value_heads")) or heads
    hidden = _positive(part.get("hidden_size"))
    head_size = _positive(part.get("head_dim")) or (hidden // heads if hidden and heads else None)
    return 2 * kv_heads * head_size if kv_heads and head_size else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
