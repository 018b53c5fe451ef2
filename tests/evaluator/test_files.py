from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.files import CannotWrite, cannot_write, replace_file


def test_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(CannotWrite, match=f"{path}: cannot be written: Is a"), cannot_write(path):
        replace_file(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
