"""Replacing a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.atomic_file import replace_file


def test_the_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    replace_file(path, "one")
    replace_file(path, "two 你")
    assert path.read_text(encoding="utf-8") == "two 你"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_text_and_no_remains(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(path, "text")
    assert list(tmp_path.iterdir()) == [path]
