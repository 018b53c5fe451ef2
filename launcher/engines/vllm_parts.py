"""Owns how vLLM is told of a draft and an adapter: its --speculative-config and LoRA arguments.

Checked against vLLM 0.32; of the keys only those that 0.10 has as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from launcher.model_parts import Adapter, Parts
from launcher.settings import LauncherSettings

SPECULATION_FLAG = "--speculative-config"
LORA_FLAG = "--enable-lora"


def base_name(settings: LauncherSettings, parts: Parts, known_flags: frozenset[str]) -> str:
    """Return the name of the model itself: with an adapter, clients mean that by the served name.

    vLLM looks a request's model up among the bare ones first, so the two must differ.
    """
    name = settings.served_model_name
    return f"{name}-base" if parts.adapter is not None and LORA_FLAG in known_flags else name


def arguments(settings: LauncherSettings, parts: Parts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each setting with its arguments, the flag that the engine must know first."""
    if parts.is_speculating:
        config = json.dumps(_speculation(settings, parts))
        yield "ENABLE_SPECULATIVE_DECODING", (SPECULATION_FLAG, config)
    if parts.adapter is not None:
        setting = "LORA_DIR" if settings.lora_dir is not None else "LORA_ID"
        yield setting, _lora(settings.served_model_name, parts.adapter)


def _speculation(settings: LauncherSettings, parts: Parts) -> dict[str, object]:
    config: dict[str, object] = {
        "method": settings.spec_method,
        "num_speculative_tokens": settings.spec_num_tokens,
    }
    if settings.spec_method == "ngram":
        config["prompt_lookup_max"] = settings.spec_prompt_lookup_max
        config["prompt_lookup_min"] = settings.spec_prompt_lookup_min
    elif parts.draft is not None:
        config["model"] = str(parts.draft)
    return config


def _lora(name: str, adapter: Adapter) -> tuple[str, ...]:
    # As JSON: of `name=path` vLLM splits paths that hold a comma or an equals sign.
    module = json.dumps({"name": name, "path": str(adapter.folder)})
    rank = ("--max-lora-rank", str(adapter.max_rank))
    return (LORA_FLAG, "--lora-modules", module, *rank)
