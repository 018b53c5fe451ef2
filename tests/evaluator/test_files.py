from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluator.files import CannotWrite, as_text, cannot_write, replace_file


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


def test_name_that_is_not_utf_8_can_be_told() -> None:
    assert as_text(Path(os.fsdecode("问题.docx".encode("gb18030")))) == "????.docx"
    assert as_text("问题.docx") == "问题.docx"
