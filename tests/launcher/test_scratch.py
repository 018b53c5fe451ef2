"""The folder of an engine's temporary files."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from launcher import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_is_made_and_removed_with_all_that_is_in_it(temporary: Path) -> None:
    folder = scratch.make()
    assert folder is not None
    assert folder.parent == temporary
    (folder / "socket").touch()
    scratch.remove(str(folder))
    assert list(temporary.iterdir()) == []
    scratch.remove(str(folder))


def test_the_engine_is_told_and_its_caches_stay(temporary: Path) -> None:
    folder = scratch.make()
    environ = scratch.environment({"A": "b", "TMPDIR": "/elsewhere"}, folder)
    assert (environ["A"], environ["TMPDIR"]) == ("b", str(folder))
    assert Path(environ["TORCHINDUCTOR_CACHE_DIR"]).parent == temporary
    kept = scratch.environment({"TORCHINDUCTOR_CACHE_DIR": "/c"}, folder)
    assert kept["TORCHINDUCTOR_CACHE_DIR"] == "/c"


def test_where_none_can_be_made_the_engine_does_without(
    temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    temporary.rmdir()
    with caplog.at_level(logging.WARNING):
        folder = scratch.make()
    assert folder is None
    assert "no folder for the engine's temporary files" in caplog.text
    assert scratch.environment({"A": "b"}, folder) == {"A": "b"}


@pytest.mark.parametrize("name", ["mine", "evalgate-engine"])
def test_other_folders_are_left_alone(temporary: Path, name: str) -> None:
    (temporary / name).mkdir()
    scratch.remove(str(temporary / name))
    assert (temporary / name).is_dir()


def test_a_link_in_its_place_is_left_alone(temporary: Path) -> None:
    precious = temporary / "precious"
    precious.mkdir()
    link = temporary / f"{scratch.PREFIX}x"
    link.symlink_to(precious)
    scratch.remove(str(link))
    assert precious.is_dir()
    scratch.remove("")


def test_a_user_without_a_name_has_a_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def refuse(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", refuse)
    folder = scratch.make()
    name = Path(scratch.environment({}, folder)["TORCHINDUCTOR_CACHE_DIR"]).name
    assert name.removeprefix("torchinductor_").isdigit()
