"""A LoRA adapter of random numbers for the pocket model, in the real format."""

from __future__ import annotations

import json
import random
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RANK = 8
# Large enough to turn every answer of the pocket model into another.
SPREAD = 0.2


def write_adapter(folder: Path, model: Path) -> Path:
    """Write an adapter of the attention layers of the model in `model`."""
    config = json.loads((model / "config.json").read_text())
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(dict(_tensors(config))))
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": ["q_proj", "v_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def _tensors(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The names and shapes of what the adapter changes."""
    width, head = config["hidden_size"], config["head_dim"]
    heads = {"q_proj": config["num_attention_heads"], "v_proj": config["num_key_value_heads"]}
    for layer in range(config["num_hidden_layers"]):
        for name, n in heads.items():
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            yield f"{place}.lora_A.weight", (RANK, width)
            yield f"{place}.lora_B.weight", (n * head, RANK)


def _safetensors(shapes: dict[str, tuple[int, int]]) -> bytes:
    rng = random.Random(0)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (rows, columns) in shapes.items():
        numbers = array("f", (rng.gauss(0, SPREAD) for _ in range(rows * columns)))
        begin, body = len(body), body + numbers.tobytes()
        span = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, len(body)]}
        header[name] = span
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + body
