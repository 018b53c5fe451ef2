from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluator.answer_journal import Answered, Journal, JournalError


def path_in(folder: Path) -> Path:
    return folder / "predict.json.partial"


def test_answers_are_there_again(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    with Journal(path, "f", 5) as journal:
        assert journal.answers == {}
        journal.add({0: Answered("a"), 1: Answered("", "failed")})
        journal.add({4: Answered("中\n")})
        assert len(journal.answers) == 3
    with Journal(path, "f", 5) as journal:
        expected = {0: Answered("a"), 1: Answered("", "failed"), 4: Answered("中\n")}
        assert journal.answers == expected
        journal.remove()
    assert not path.exists()


def test_every_cut_of_the_file_is_survived(tmp_path: Path) -> None:
    """A kill may end the file at any byte; whole lines count, and the next ones are not harmed."""
    path = path_in(tmp_path)
    with Journal(path, "f", 9) as journal:
        for index in range(3):
            journal.add({index: Answered(f"answer {index}")})
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = max(0, content[:length].count(b"\n") - 1)
        with Journal(path, "f", 9) as journal:
            assert sorted(journal.answers) == list(range(whole))
            journal.add({8: Answered("last")})
        with Journal(path, "f", 9) as journal:
            assert sorted(journal.answers) == [*range(whole), 8]


@pytest.mark.parametrize(("fingerprint", "questions"), [("other", 5), ("f", 6)])
def test_other_question_file_is_refused(tmp_path: Path, fingerprint: str, questions: int) -> None:
    path = path_in(tmp_path)
    with Journal(path, "f", 5):
        pass
    with pytest.raises(JournalError, match="belongs to another question file"):
        Journal(path, fingerprint, questions)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense\n", "line 2: is damaged"),
        (b"\xff\n", "line 2: is damaged"),
        (b'{"answers":{"5":{"answer":"a"}}}\n', "line 2: is about a question that is not there"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = path_in(tmp_path)
    with Journal(path, "f", 5):
        pass
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(JournalError, match=message):
        Journal(path, "f", 5)


def test_file_that_is_something_else(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.write_text("my notes\n")
    with pytest.raises(JournalError, match="line 1: is no side file"):
        Journal(path, "f", 5)
    assert path.read_text() == "my notes\n"


def test_second_run_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    with Journal(path, "f", 5), pytest.raises(JournalError, match="another run is writing it"):
        Journal(path, "f", 5)


def test_file_that_another_run_deleted_after_it_was_opened(tmp_path: Path) -> None:
    """Between the opening and the lock: what is written there would be lost."""
    path = path_in(tmp_path)

    class Slow(Journal):
        def _lock(self) -> None:
            path.unlink()
            super()._lock()

    with pytest.raises(JournalError, match="another run has just ended"):
        Slow(path, "f", 5)

    class Slower(Journal):
        def _lock(self) -> None:
            path.unlink()
            path.touch()
            super()._lock()

    with pytest.raises(JournalError, match="another run has just ended"):
        Slower(path, "f", 5)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be used: No such file"):
        Journal(tmp_path / "no" / "x.partial", "f", 5)


def test_write_that_fails_later(tmp_path: Path) -> None:
    with Journal(path_in(tmp_path), "f", 5) as journal:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, journal._file.fileno())
        os.close(full)
        with pytest.raises(JournalError, match="cannot be written: No space left"):
            journal.add({0: Answered("a")})
