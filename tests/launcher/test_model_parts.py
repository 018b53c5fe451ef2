"""What is served with a model: a draft, an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.errors import CannotStart
from launcher.model_parts import Parts, for_engine, planned_parts, resolve_parts
from launcher.settings import LauncherSettings
from tests.fakes.model_files import WEIGHTS, model_files, write_model


def settings(folder: Path, **fields: object) -> LauncherSettings:
    return LauncherSettings.model_validate({"model_root": folder, **fields})


def drafting(folder: Path, **fields: object) -> LauncherSettings:
    asked = {"enable_speculative_decoding": True, "spec_method": "draft_model"}
    return settings(folder, **asked, **fields)


def write_draft(folder: Path) -> Path:
    files = model_files()
    return write_model(folder, {name: files[name] for name in ("config.json", WEIGHTS)})


def write_adapter(folder: Path, config: dict[str, object]) -> Path:
    files = {"adapter_model.safetensors": model_files()[WEIGHTS]}
    return write_model(folder, files | {"adapter_config.json": json.dumps(config).encode()})


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    assert resolve_parts(settings(tmp_path)) == Parts()


def test_guesses_from_the_prompt_need_no_model(tmp_path: Path) -> None:
    mine = settings(tmp_path, enable_speculative_decoding=True, spec_model_id="a/b")
    assert resolve_parts(mine) == Parts(is_speculating=True)


def test_a_draft_is_where_it_was_fetched_to_or_where_it_is_said_to_be(tmp_path: Path) -> None:
    fetched, mine = write_draft(tmp_path / "a" / "b"), write_draft(tmp_path / "mine")
    assert resolve_parts(drafting(tmp_path, spec_model_id="a/b")).draft == fetched
    both = drafting(tmp_path, spec_model_id="a/b", spec_model_dir=mine)
    assert resolve_parts(both).draft == mine


def test_a_missing_draft_costs_the_speculation_where_it_is_optional(tmp_path: Path) -> None:
    parts = resolve_parts(drafting(tmp_path, spec_model_id="a/b"))
    assert (parts.draft, parts.is_speculating) == (None, False)
    assert parts.dropped == (
        f"ENABLE_SPECULATIVE_DECODING (there is no model folder {tmp_path}/a/b)",
    )


def test_a_missing_draft_that_is_not_optional_is_told(tmp_path: Path) -> None:
    mine = drafting(tmp_path, spec_model_id="a/b", spec_model_optional=False)
    with pytest.raises(CannotStart, match="the model that guesses: there is no .*; fetch it"):
        resolve_parts(mine, "; fetch it")


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({"r": 8}, 8),
        ({"r": 24}, 32),
        ({"r": 8, "rank_pattern": {"q_proj": 40}}, 64),
        ({"r": 1000}, 1000),  # the engine will tell
        ({}, 16),
    ],
)
def test_an_adapter_gets_the_room_that_the_engine_knows_for_its_rank(
    config: dict[str, object], rank: int, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "a" / "b", config)
    adapter = resolve_parts(settings(tmp_path, lora_id="a/b")).adapter
    assert adapter is not None
    assert (adapter.folder, adapter.max_rank) == (folder, rank)


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("adapter_config.json", "adapter_config.json is missing"),
        ("adapter_model.safetensors", "neither adapter_model.safetensors nor adapter_model.bin"),
    ],
)
def test_an_adapter_that_is_not_whole_is_told(lost: str, told: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine", {"r": 8})
    (folder / lost).unlink()
    with pytest.raises(CannotStart, match=told):
        resolve_parts(settings(tmp_path, lora_dir=folder))


@pytest.mark.parametrize(
    ("version", "is_known"),
    [
        ("0.9.2", True),
        ("0.10.2+maca3.1", False),
        ("0.13.0", False),
        ("0.14.0", True),
        ("0.32.0", True),
        ("unknown", True),
    ],
)
def test_versions_that_refuse_a_draft_model_get_none(
    version: str, is_known: bool, tmp_path: Path
) -> None:
    mine = drafting(tmp_path, spec_model_dir="/d")
    parts = for_engine(planned_parts(mine), mine, version, tmp_path)
    assert parts.is_speculating == is_known
    assert bool(parts.dropped) != is_known


def test_a_draft_with_another_vocabulary_is_none(tmp_path: Path) -> None:
    """vLLM does not start with it: its guesses would name tokens that the model has not."""
    model = write_model(tmp_path / "model", {"config.json": b'{"vocab_size": 2048}'})
    draft = write_model(tmp_path / "draft", {"config.json": b'{"vocab_size": 4096}'})
    mine = drafting(tmp_path, spec_model_dir=draft)
    parts = for_engine(planned_parts(mine), mine, "0.32.0", model)
    assert parts.dropped == (
        "ENABLE_SPECULATIVE_DECODING (the draft has 4096 tokens in its vocabulary, the model 2048)",
    )
    assert for_engine(planned_parts(mine), mine, "0.32.0", draft).draft == draft


def test_the_other_ways_to_guess_are_left_to_every_version(tmp_path: Path) -> None:
    mine = settings(tmp_path, enable_speculative_decoding=True)
    assert for_engine(planned_parts(mine), mine, "0.10.0", tmp_path) == Parts(is_speculating=True)
