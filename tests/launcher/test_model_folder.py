import struct
from pathlib import Path

import pytest

from launcher import model_folder
from launcher.errors import CannotStart
from tests.fakes.model_files import (
    SHARDS,
    WEIGHTS,
    model_files,
    safetensors,
    sharded_files,
    write_model,
)


@pytest.mark.parametrize(
    "files",
    [
        model_files(),
        sharded_files(),
        {"config.json": b"{}", "tokenizer.model": b"x", "pytorch_model.bin": b"x"},
        {"config.json": b"{}", "qwen.tiktoken": b"x", "pytorch_model.bin": b"x"},
        {"config.json": b"{}", "vocab.json": b"{}", "merges.txt": b"x", "pytorch_model.bin": b"x"},
        {
            "config.json": b"{}",
            "tokenizer.json": b"{}",
            "pytorch_model.bin.index.json": b'{"weight_map": {"a": "pytorch_model-1.bin"}}',
            "pytorch_model-1.bin": b"x",
        },
        # vLLM and SGLang load every safetensors file of a folder that has no index.
        {"config.json": b"{}", "tekken.json": b"{}", "consolidated.safetensors": safetensors(9)},
        {name: data for name, data in sharded_files().items() if not name.endswith("index.json")},
    ],
)
def test_a_whole_model_is_complete(files: dict[str, bytes], tmp_path: Path) -> None:
    model_folder.check_complete(write_model(tmp_path, files))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
SHARD = sharded_files()[SHARDS[1]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", b"{", "config.json is not a JSON object"),
        ("config.json", b"[]", "config.json is not a JSON object"),
        ("tokenizer.json", None, "no tokenizer.json, no tokenizer.model, no vocab.json"),
        ("tokenizer.json", b"", "tokenizer.json is empty"),
        ("tokenizer.json", LFS, "tokenizer.json is a Git LFS pointer"),
        (f"{WEIGHTS}.index.json", b"{}", "index.json has no weight_map"),
        (f"{WEIGHTS}.index.json", b'{"weight_map": {}}', "index.json has no weight_map"),
        (SHARDS[1], None, f"{SHARDS[1]} is missing"),
        (SHARDS[1], b"", f"{SHARDS[1]} is empty"),
        (SHARDS[1], LFS, f"{SHARDS[1]} is a Git LFS pointer"),
        (SHARDS[1], SHARD[:-1], f"{len(SHARD) - 1} bytes, its header says {len(SHARD)}"),
        (SHARDS[1], SHARD + b"x", f"{len(SHARD) + 1} bytes, its header says {len(SHARD)}"),
        (SHARDS[1], SHARD[:5], "cut short or no safetensors"),
        (SHARDS[1], SHARD[:40], "cut short or no safetensors"),
        (SHARDS[1], b"\xff" * 100, "cut short or no safetensors"),
        (SHARDS[1], struct.pack("<Q", 2) + b"[]", "cut short or no safetensors"),
        (SHARDS[1], struct.pack("<Q", 8) + b'{"a":{}}', "cut short or no safetensors"),
    ],
)
def test_what_is_missing_is_named(
    name: str, data: bytes | None, message: str, tmp_path: Path
) -> None:
    files = sharded_files()
    if data is None:
        del files[name]
    else:
        files[name] = data
    with pytest.raises(CannotStart) as failure:
        model_folder.check_complete(write_model(tmp_path, files))
    first_line = str(failure.value).splitlines()[0]
    assert message in first_line
    assert str(tmp_path) in first_line


def test_a_shard_that_is_missing_is_named_without_an_index(tmp_path: Path) -> None:
    files = sharded_files()
    del files[f"{WEIGHTS}.index.json"]
    del files[SHARDS[1]]
    with pytest.raises(CannotStart, match=f"{SHARDS[1]} is missing"):
        model_folder.check_complete(write_model(tmp_path, files))


def test_an_adapter_is_not_taken_for_a_models_weights(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{}"}
    files["adapter_model.safetensors"] = safetensors(9)
    with pytest.raises(CannotStart, match="no weights"):
        model_folder.check_complete(write_model(tmp_path, files))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["tokenizer.json", "vocab.json"], ["tokenizer.json"]),
        (["b.tiktoken", "a.tiktoken"], ["a.tiktoken", "b.tiktoken"]),
        (["merges.txt", "vocab.json"], ["vocab.json", "merges.txt"]),
        (["vocab.json"], []),
    ],
)
def test_a_tokenizer_is_one_file_or_a_pair(names: list[str], found: list[str]) -> None:
    assert model_folder.tokenizer_files(names) == found


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="no model folder .*nowhere"):
        model_folder.check_complete(tmp_path / "nowhere")


def test_a_file_that_cannot_be_read_is_no_traceback(tmp_path: Path) -> None:
    write_model(tmp_path, {"tokenizer.json": b"{}"})
    (tmp_path / "config.json").symlink_to("/proc/self/mem")  # opens, but reading it fails
    with pytest.raises(CannotStart, match="cannot be read: .*Errno"):
        model_folder.check_complete(tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"tokenizer_config.json": b"{}"}, False),
        ({"tokenizer_config.json": b'{"chat_template": ""}'}, False),
        ({"tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}, True),
        ({"chat_template.jinja": b"{{ messages }}"}, True),
        ({"chat_template.json": b"{}"}, True),
        ({"tekken.json": b"{}"}, True),
    ],
)
def test_a_chat_template_is_found_where_models_keep_it(
    files: dict[str, bytes], expected: bool, tmp_path: Path
) -> None:
    assert model_folder.has_chat_template(write_model(tmp_path, files)) is expected


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (b'{"max_position_embeddings": 2048}', 2048),
        (b'{"text_config": {"max_position_embeddings": 4096}}', 4096),
        (b'{"max_position_embeddings": "many", "text_config": []}', None),
        (b"[]", None),
    ],
)
def test_the_context_length_is_what_the_model_declares(
    config: bytes, length: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes(config)
    assert model_folder.context_len(tmp_path) == length


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (WEIGHTS, True),
        ("pytorch_model-1.bin", True),
        (f"{WEIGHTS}.index.json", True),
        ("generation_config.json", True),
        ("tokenizer.model", True),
        ("tekken.json", True),
        ("chat_template.jinja", True),
        ("configuration.json", False),
        ("README.md", False),
        ("training_args.bin", False),
        (".hidden.safetensors", False),
        (f"original/{WEIGHTS}", False),
    ],
)
def test_what_engines_read_is_told_by_its_name(path: str, expected: bool) -> None:
    assert model_folder.is_read_by_engines(path) is expected
