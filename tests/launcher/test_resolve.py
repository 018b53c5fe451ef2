"""Which model folder is meant."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import pocket
from launcher.errors import CannotStart, LauncherError
from launcher.resolve import fetch_model, pocket_dir, resolve_model_dir
from launcher.settings import LauncherSettings
from tests.fakes.hub import Hub
from tests.fakes.model_files import WEIGHTS, model_files, write_model

# What an engine needs for a chat, beyond what makes a model whole.
CHAT_FILES = {**model_files(), "chat_template.jinja": b"{{ messages }}"}
DRAFT_FILES = {name: model_files()[name] for name in ("config.json", WEIGHTS)}
ADAPTER_FILES = {
    "adapter_config.json": b'{"r": 8}',
    "adapter_model.safetensors": model_files()[WEIGHTS],
}


def settings(folder: Path, **fields: object) -> LauncherSettings:
    paths = {"model_root": folder / "model", "evalgate_cache": folder / "cache"}
    return LauncherSettings.model_validate({**paths, **fields})


def no_engine() -> Path:
    raise AssertionError("only the training needs the engine's interpreter")


def write_pocket_model(folder: Path) -> Path:
    """As a finished training leaves it."""
    files = {name: b"{}" for name in (*pocket.MODEL_FILES, pocket.STAMP)}
    return write_model(folder, {**CHAT_FILES, **files} | weights())


def weights() -> dict[str, bytes]:
    return {name: data for name, data in model_files().items() if name.endswith(".safetensors")}


def test_a_folder_wins_over_an_id(tmp_path: Path) -> None:
    mine = write_model(tmp_path / "mine", CHAT_FILES)
    assert resolve_model_dir(settings(tmp_path, model_dir=mine, model_id="a/b")) == mine
    assert fetch_model(settings(tmp_path, model_dir=mine, model_id="a/b"), no_engine) == mine


def test_a_relative_folder_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "mine", model_files())
    monkeypatch.chdir(tmp_path)
    assert resolve_model_dir(settings(tmp_path, model_dir=Path("mine"))) == tmp_path / "mine"


def test_an_id_is_looked_for_where_it_was_fetched_to(tmp_path: Path) -> None:
    fetched = write_model(tmp_path / "model" / "a" / "b", model_files())
    assert resolve_model_dir(settings(tmp_path, model_id="a/b")) == fetched


def test_neither_is_the_pocket_model_shipped_or_cached(tmp_path: Path) -> None:
    mine = settings(tmp_path)
    cached = write_pocket_model(pocket_dir(mine.cache_dir))
    assert resolve_model_dir(mine) == cached
    shipped = write_pocket_model(tmp_path / "model" / "pocket")
    assert resolve_model_dir(mine) == shipped


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_dir": "none"}, "MODEL_DIR=none: there is no model folder none"),
        (
            {"model_id": "a/b"},
            "MODEL_ID=a/b: there is no model folder .*a/b; fetch it with `python",
        ),
        ({}, "the pocket model: there is no model folder .*; fetch it with `python -m launcher"),
    ],
)
def test_a_missing_model_is_told_with_the_command_that_fetches_it(
    tmp_path: Path, fields: dict[str, object], expected: str
) -> None:
    with pytest.raises(CannotStart, match=f"^{expected}"):
        resolve_model_dir(settings(tmp_path, **fields))


def test_an_incomplete_model_is_told(tmp_path: Path) -> None:
    mine = write_model(tmp_path / "mine", {"config.json": b"{}"})
    with pytest.raises(CannotStart, match=f"MODEL_DIR={mine}: .* is not complete"):
        resolve_model_dir(settings(tmp_path, model_dir=mine))


def test_the_pocket_model_is_trained_where_it_is_looked_for(tmp_path: Path) -> None:
    mine = settings(tmp_path)
    cached = write_pocket_model(pocket_dir(mine.cache_dir))
    assert fetch_model(mine, lambda: tmp_path / "no-interpreter") == cached


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def hub(_offline: None) -> Iterator[Hub]:
    with Hub("a/b", dict(CHAT_FILES)) as running:
        yield running


@pytest.mark.parametrize("token", [None, "sesame"])
def test_an_id_is_fetched_with_the_token(tmp_path: Path, token: str | None, hub: Hub) -> None:
    hub.token = token
    mine = settings(
        tmp_path, model_id="a/b", modelscope_api_token=token, modelscope_endpoint=hub.url
    )
    fetched = fetch_model(mine, no_engine)
    assert fetched == tmp_path / "model" / "a" / "b" == resolve_model_dir(mine)


def test_a_model_without_a_chat_template_is_no_model_to_serve(tmp_path: Path) -> None:
    mine = write_model(tmp_path / "mine", model_files())
    with pytest.raises(CannotStart, match="has no chat template, .* copy chat_template.jinja"):
        fetch_model(settings(tmp_path, model_dir=mine), no_engine)
    named = settings(tmp_path, model_dir=mine, engine_extra_args="--chat-template=/t.jinja")
    assert fetch_model(named, no_engine) == mine


def with_parts(folder: Path, hub: Hub, **fields: object) -> LauncherSettings:
    model = write_model(folder / "mine", CHAT_FILES)
    return settings(folder, model_dir=model, modelscope_endpoint=hub.url, **fields)


def drafting(folder: Path, hub: Hub, **fields: object) -> LauncherSettings:
    asked = {"enable_speculative_decoding": True, "spec_method": "draft_model"}
    return with_parts(folder, hub, **asked, **fields)


def test_a_draft_is_fetched_without_a_tokenizer(tmp_path: Path, hub: Hub) -> None:
    hub.files, hub.revisions = dict(DRAFT_FILES), ("v2",)
    mine = drafting(tmp_path, hub, spec_draft_model_id="a/b", spec_draft_model_revision="v2")
    fetch_model(mine, no_engine)
    assert (tmp_path / "model" / "a" / "b" / WEIGHTS).is_file()


def test_a_draft_that_cannot_be_fetched_costs_the_speculation_only(
    tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "launcher")
    mine = drafting(tmp_path, hub, spec_model_id="a/none")
    assert fetch_model(mine, no_engine) == mine.model_dir
    assert "no speculative decoding, because SPEC_MODEL_OPTIONAL=1 and" in caplog.text
    assert "has no a/none (master)" in caplog.text


def test_a_draft_that_is_not_optional_must_be_fetched(tmp_path: Path, hub: Hub) -> None:
    mine = drafting(tmp_path, hub, spec_model_id="a/none", spec_model_optional=False)
    with pytest.raises(LauncherError, match="has no a/none"):
        fetch_model(mine, no_engine)


@pytest.mark.parametrize(
    "fields", [{"spec_model_dir": "/there"}, {"enable_speculative_decoding": False}]
)
def test_a_draft_that_is_there_or_not_used_is_not_fetched(
    tmp_path: Path, hub: Hub, fields: dict[str, object]
) -> None:
    asked = {"spec_model_id": "a/b", "enable_speculative_decoding": True, "spec_method": "eagle"}
    fetch_model(with_parts(tmp_path, hub, **(asked | fields)), no_engine)
    assert hub.requests == []


def test_an_adapter_is_fetched(tmp_path: Path, hub: Hub) -> None:
    hub.files = dict(ADAPTER_FILES)
    fetch_model(with_parts(tmp_path, hub, lora_id="a/b"), no_engine)
    assert (tmp_path / "model" / "a" / "b" / "adapter_config.json").is_file()


def test_an_adapter_that_cannot_be_fetched_fails_it_all(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(CannotStart, match=r"adapter_config.json is missing"):
        fetch_model(with_parts(tmp_path, hub, lora_id="a/b"), no_engine)
    with pytest.raises(CannotStart, match="LORA_ID 'b' is no ModelScope model id"):
        fetch_model(with_parts(tmp_path, hub, lora_id="b"), no_engine)


def test_an_adapters_folder_is_not_fetched(tmp_path: Path, hub: Hub) -> None:
    fetch_model(with_parts(tmp_path, hub, lora_id="a/b", lora_dir="/there"), no_engine)
    assert hub.requests == []
