"""Which model folder is meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import pocket
from launcher.errors import CannotStart
from launcher.resolve import fetch_model, pocket_dir, resolve_model_dir
from launcher.settings import LauncherSettings
from tests.fakes.hub import Hub
from tests.fakes.model_files import model_files, write_model


def settings(folder: Path, **fields: object) -> LauncherSettings:
    paths = {"model_root": folder / "model", "evalgate_cache": folder / "cache"}
    return LauncherSettings.model_validate({**paths, **fields})


def no_engine() -> Path:
    raise AssertionError("only the training needs the engine's interpreter")


def write_pocket_model(folder: Path) -> Path:
    """As a finished training leaves it."""
    files = {name: b"{}" for name in (*pocket.MODEL_FILES, pocket.STAMP)}
    return write_model(folder, {**model_files(), **files} | weights())


def weights() -> dict[str, bytes]:
    return {name: data for name, data in model_files().items() if name.endswith(".safetensors")}


def test_a_folder_wins_over_an_id(tmp_path: Path) -> None:
    mine = write_model(tmp_path / "mine", model_files())
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


@pytest.mark.parametrize("token", [None, "sesame"])
def test_an_id_is_fetched_with_the_token(
    tmp_path: Path, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Hub("a/b", model_files(), token=token) as hub:
        mine = settings(
            tmp_path, model_id="a/b", modelscope_api_token=token, modelscope_endpoint=hub.url
        )
        fetched = fetch_model(mine, no_engine)
    assert fetched == tmp_path / "model" / "a" / "b" == resolve_model_dir(mine)
