"""Model folders as they are on a hub, small, with weights in the real format."""

import json
import random
import struct
from pathlib import Path

WEIGHTS = "model.safetensors"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def safetensors(payload_bytes: int, seed: int = 0) -> bytes:
    """One tensor of random bytes in the real format."""
    tensor = {"dtype": "U8", "shape": [payload_bytes], "data_offsets": [0, payload_bytes]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(payload_bytes)


def model_files() -> dict[str, bytes]:
    return {
        "config.json": b'{"model_type": "qwen3"}',
        "tokenizer.json": b"{}",
        "docs/notes.md": b"notes",
        WEIGHTS: safetensors(3_000_000),
    }


def sharded_files() -> dict[str, bytes]:
    weight_map = {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[1]}
    files = {SHARDS[0]: safetensors(1000), SHARDS[1]: safetensors(2000, seed=1)}
    files[f"{WEIGHTS}.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return {name: data for name, data in model_files().items() if name != WEIGHTS} | files


def write_model(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
