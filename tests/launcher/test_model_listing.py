"""What of a model is still to be fetched."""

from pathlib import Path

from launcher.model_listing import compare, free_bytes
from tests.fakes.model_files import write_model


def test_whole_files_and_parts_of_files_are_there(tmp_path: Path) -> None:
    files = {
        "whole": b"1234",
        "sub/whole": b"12",
        "other-size": b"123",
        "cut.incomplete": b"12345",
        "pieces_0_3": b"1234",
        "pieces_4_7": b"12",
    }
    sizes = {"whole": 4, "sub/whole": 2, "other-size": 4, "cut": 9, "pieces": 8, "none": 7}
    left = compare(sizes, write_model(tmp_path, files))
    assert left.there_bytes == 4 + 2 + 0 + 5 + 6 + 0
    assert left.left_bytes == 34 - 17


def test_more_than_a_file_is_never_counted(tmp_path: Path) -> None:
    left = compare({"cut": 3}, write_model(tmp_path, {"cut.incomplete": b"12345"}))
    assert left.left_bytes == 0


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert compare({"a": 3}, tmp_path / "none").left_bytes == 3


def test_free_room_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0
