"""Owns what a model folder must hold before an engine is started on it.

It reads files only: no network, no engine, nothing is changed.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from launcher.errors import CannotStart

# Mistral's tokenizer: the form of a chat is part of it.
_OWN_FORMAT = "tekken.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", _OWN_FORMAT, "tiktoken.model")
_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# The place of a file among its kind, as the makers of shards name it.
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(\.safetensors)")
# What an engine, or a tokenizer, looks for by name at a folder's top. configuration.json is not
# among them: ModelScope itself puts one into a new model.
_READ_BY_ENGINES = (
    "*.safetensors",
    "*.bin",
    "*.index.json",
    "*config.json",
    "params.json",
    "tokenizer*.json",
    "tokenizer.model*",
    *_TOKENIZER_FILES,
    "*.tiktoken",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
)
_LEFT_BY_TRAINERS = ("training_args.bin", "optimizer.bin", "scheduler.bin")
_LFS_POINTER = b"version https://git-lfs"
# The format's own limit: a longer header is garbage, not a header.
_MAX_SAFETENSORS_HEADER_BYTES = 100_000_000


def check_complete(path: Path) -> None:
    """Raise CannotStart unless `path` holds a whole model; its first line names what is missing."""
    _check(path, (_check_config, _check_tokenizer, _check_weights))


def check_draft(path: Path) -> None:
    """The same for a model that guesses; it may lack a tokenizer: the other model's is used."""
    _check(path, (_check_config, _check_weights))


def check_adapter(path: Path) -> None:
    """The same for a LoRA adapter: what it changes, and how."""
    _check(path, (_check_adapter,))


def tokenizer_files(names: Collection[str]) -> list[str]:
    """Return which of a folder's file names are its tokenizer; none when it has no whole one."""
    found = [name for name in _TOKENIZER_FILES if name in names]
    found += sorted(name for name in names if name.endswith(".tiktoken"))
    pair = ["vocab.json", "merges.txt"]
    return found or (pair if all(name in names for name in pair) else [])


def has_chat_template(path: Path) -> bool:
    """Whether the model brings a chat template, in a file of its own or in its tokenizer's."""
    names = ("chat_template.jinja", "chat_template.json", _OWN_FORMAT)
    if any((path / name).is_file() for name in names):
        return True
    config = read_object(path / "tokenizer_config.json")
    return bool(config and config.get("chat_template"))


def is_read_by_engines(path: str) -> bool:
    """Whether a file by this path in a model folder changes what an engine serves.

    Weights, their indexes, configuration, tokenizer and chat template, at the folder's top.
    """
    if "/" in path or path.startswith(".") or path in _LEFT_BY_TRAINERS:
        return False
    return any(fnmatch(path, pattern) for pattern in _READ_BY_ENGINES)


def context_len(path: Path) -> int | None:
    """The context length that the model declares, if it does."""
    config = read_object(path / "config.json") or {}
    text = config.get("text_config")  # of a model that also sees
    for part in (config, text if isinstance(text, dict) else {}):
        length = part.get("max_position_embeddings")
        if isinstance(length, int) and length > 0:
            return length
    return None


def read_object(file: Path) -> dict[str, Any] | None:
    """The JSON object in `file`, or None when it holds none."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _check(path: Path, checks: Sequence[Callable[[Path], None]]) -> None:
    if not path.is_dir():
        raise CannotStart(f"there is no model folder {path}")
    try:
        for check in checks:
            check(path)
    except OSError as exc:
        raise CannotStart(f"the model folder {path} cannot be read: {exc}") from exc


def _incomplete(path: Path, what: str) -> CannotStart:
    return CannotStart(f"the model in {path} is not complete: {what}")


def _check_config(path: Path, name: str = "config.json") -> None:
    _check_file(path, name)
    if read_object(path / name) is None:
        raise _incomplete(path, f"{name} is not a JSON object")


def _check_adapter(path: Path) -> None:
    _check_config(path, _ADAPTER_CONFIG)
    weights = next((name for name in _ADAPTER_FILES if (path / name).is_file()), None)
    if weights is None:
        raise _incomplete(path, f"no weights, neither {' nor '.join(_ADAPTER_FILES)}")
    _check_weight_file(path, weights)


def _check_tokenizer(path: Path) -> None:
    found = tokenizer_files([file.name for file in path.iterdir() if file.is_file()])
    if not found:
        what = "no tokenizer.json, no tokenizer.model, no vocab.json with merges.txt"
        raise _incomplete(path, what)
    for name in found:
        _check_file(path, name)


def _check_weights(path: Path) -> None:
    for name in _WEIGHT_FILES:
        index = f"{name}.index.json"
        if (path / index).is_file():
            for shard in _shards(path, index):
                _check_weight_file(path, shard)
            return
        if (path / name).is_file():
            _check_weight_file(path, name)
            return
    others = _other_weights(path)
    if not others:
        what = f"no weights, neither {' nor '.join(_WEIGHT_FILES)} nor an index"
        raise _incomplete(path, what)
    for name in others:
        _check_weight_file(path, name)


def _other_weights(path: Path) -> list[str]:
    """Return what an engine takes for weights without an index: all safetensors, of all shards."""
    names = {file.name for file in path.glob("*.safetensors")} - {*_ADAPTER_FILES}
    return sorted(names.union(*(_all_shards(name) for name in names)))


def _all_shards(name: str) -> Iterator[str]:
    shard = _SHARD.fullmatch(name)
    if shard is not None:
        stem, place, total, ending = shard.groups()
        for number in range(1, int(total) + 1):
            yield f"{stem}-{number:0{len(place)}}-of-{total}{ending}"


def _shards(path: Path, index: str) -> list[str]:
    _check_file(path, index)
    weight_map = (read_object(path / index) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _incomplete(path, f"{index} has no weight_map")
    return sorted({str(name) for name in weight_map.values()})


def _check_weight_file(path: Path, name: str) -> None:
    _check_file(path, name)
    if name.endswith(".safetensors"):
        expected, found = _announced_size_bytes(path, name), (path / name).stat().st_size
        if found != expected:
            raise _incomplete(path, f"{name} has {found} bytes, its header says {expected}")


def _check_file(path: Path, name: str) -> None:
    file = path / name
    if not file.is_file():
        raise _incomplete(path, f"{name} is missing")
    with file.open("rb") as handle:
        head = handle.read(len(_LFS_POINTER))
    if not head:
        raise _incomplete(path, f"{name} is empty")
    if head == _LFS_POINTER:
        raise _incomplete(path, f"{name} is a Git LFS pointer, not the file (git lfs pull)")


def _announced_size_bytes(path: Path, name: str) -> int:
    """The file size that a safetensors header announces.

    Format: 8 bytes little-endian header length, a JSON header, then the tensors without a gap
    (safetensors README, "Format").
    """
    try:
        with (path / name).open("rb") as handle:
            (header_bytes,) = struct.unpack("<Q", handle.read(8))
            if header_bytes > _MAX_SAFETENSORS_HEADER_BYTES:
                raise ValueError(f"a header of {header_bytes} bytes")
            header = json.loads(handle.read(header_bytes))
        ends = [int(v["data_offsets"][1]) for k, v in header.items() if k != "__metadata__"]
    except (struct.error, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise _incomplete(path, f"{name} is cut short or no safetensors file ({exc})") from exc
    return 8 + int(header_bytes) + max(ends, default=0)
