"""Owns the side file of `evaluator answer`: what has been answered so far, safe against any end.

JSON lines: a header that names the question file by its content, then one line per chunk, each on
the disk before the next chunk is asked. A last line that was torn never counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from evaluator.files import sync_folder

FORMAT = 1


class JournalError(Exception):
    """The side file cannot be used; the message names it and says why."""


class Answered(msgspec.Struct, frozen=True):
    """One answer as recorded."""

    answer: str
    error: str = ""
    """Why there is none."""


class _Header(msgspec.Struct):
    format: int
    fingerprint: str
    questions: int


class _Line(msgspec.Struct):
    answers: dict[int, Answered]
    """By the question's place in its file, from 0."""


class Journal:
    """An open side file, locked against a second run; a context that closes it."""

    def __init__(self, path: Path, fingerprint: str, questions: int) -> None:
        self.path = path
        self.answers: dict[int, Answered] = {}
        self._header = _Header(FORMAT, fingerprint, questions)
        try:
            self._file = path.open("a+b")
            try:
                self._lock()
                self._load()
            except BaseException:
                self._file.close()
                raise
        except OSError as exc:
            raise JournalError(f"{path}: cannot be used: {exc.strerror}") from exc

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk: what could not be written is torn
            self._file.close()

    def add(self, answers: Mapping[int, Answered]) -> None:
        """Record answers; they are on the disk when this returns. Raises JournalError."""
        try:
            self._append(_Line(dict(answers)))
        except OSError as exc:
            raise JournalError(f"{self.path}: cannot be written: {exc.strerror}") from exc
        self.answers.update(answers)

    def remove(self) -> None:
        """Delete the file: everything is somewhere safer now."""
        self.path.unlink()

    def _append(self, value: _Header | _Line) -> None:
        self._file.write(msgspec.json.encode(value) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise JournalError(f"{self.path}: another run is writing it") from exc
        # That run may have deleted the file between our opening and its end.
        if not self.path.exists() or not os.path.samestat(
            os.fstat(self._file.fileno()), self.path.stat()
        ):
            raise JournalError(f"{self.path}: another run has just ended; run this again")

    def _load(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append(self._header)
            sync_folder(self.path.parent)
            return
        self._check_header(lines[0])
        for number, line in enumerate(lines[1:], start=2):
            self.answers.update(self._decode(line, number))

    def _check_header(self, line: bytes) -> None:
        try:
            header = msgspec.json.decode(line, type=_Header)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise JournalError(f"{self.path}: line 1: is no side file of `answer`: {exc}") from exc
        if header != self._header:
            raise JournalError(
                f"{self.path}: belongs to another question file, or another version of it: "
                "move it away to begin anew"
            )

    def _decode(self, line: bytes, number: int) -> dict[int, Answered]:
        try:
            answers = msgspec.json.decode(line, type=_Line).answers
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise JournalError(f"{self.path}: line {number}: is damaged: {exc}") from exc
        if any(not 0 <= index < self._header.questions for index in answers):
            raise JournalError(f"{self.path}: line {number}: is about a question that is not there")
        return answers
