"""Owns the reading of a question set: which file, in which encoding, which of its questions.

How the questions stand in it is question_formats.py's.
"""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import docx

from evaluator import question_formats
from evaluator.question_formats import Entry, Malformed
from evaluator.report import Question

_ZIP = b"PK\x03\x04"
_OLD_WORD = b"\xd0\xcf\x11\xe0"
# What python-docx and the zip and XML readers below it raise over damaged and foreign files;
# most were met by changing bytes of a docx at random.
_NOT_A_DOCX = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)


class QuestionSetError(ValueError):
    """A file is not a question set; the message names the file and the line or paragraph."""


def load(
    path: Path,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    needs_reference: bool = True,
) -> list[Question]:
    """Read a question set: docx, JSON lines, a JSON array or CSV, told apart by content.

    `limit` takes the first so many, `sample` then draws so many of these by `seed`, in the file's
    order; both at least 1. Without `needs_reference` a question may come without an answer. The
    ids are the file's own where every question has a different one, else the numbers from 1 on.
    Raises QuestionSetError.
    """
    try:
        entries = list(_entries(_bytes(path)))
    except Malformed as exc:
        raise QuestionSetError(f"{path}: {exc}") from exc
    if not entries:
        raise QuestionSetError(f"{path}: holds no questions")
    for entry in entries:
        if needs_reference and entry.reference is None:
            raise QuestionSetError(f"{path}: {entry.where}: the question has no answer")
    return _chosen(_questions(entries), limit, sample, seed)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise QuestionSetError(f"{path}: cannot be read: {exc.strerror}") from exc


def _entries(raw: bytes) -> Iterable[Entry]:
    if raw.startswith(_ZIP):
        return question_formats.from_paragraphs(_paragraphs(raw))
    text = _text(raw)
    match text.lstrip()[:1]:
        case "":
            return ()
        case "{":
            return question_formats.from_json_lines(text)
        case "[":
            return question_formats.from_json_array(text)
        case _:
            return question_formats.from_csv(text)


def _paragraphs(raw: bytes) -> list[str]:
    """The paragraphs of a docx outside its tables."""
    try:
        return [paragraph.text for paragraph in docx.Document(io.BytesIO(raw)).paragraphs]
    except _NOT_A_DOCX as exc:
        raise Malformed("the whole file", f"not a docx that can be opened ({exc})") from exc


def _text(raw: bytes) -> str:
    """UTF-8 with or without a byte order mark, or GB 18030, which Chinese spreadsheets write."""
    if raw.startswith(_OLD_WORD):
        raise Malformed("the whole file", "an old Word or Excel file; save it as docx or CSV")
    if b"\0" in raw:
        raise Malformed(_line_of(raw, raw.index(b"\0")), "a zero byte: this is no text file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        try:
            return raw.decode("gb18030")
        except UnicodeDecodeError:
            raise Malformed(_line_of(raw, exc.start), "neither UTF-8 nor GB 18030") from exc


def _line_of(raw: bytes, position: int) -> str:
    return f"line {raw.count(10, 0, position) + 1}"


def _questions(entries: Sequence[Entry]) -> list[Question]:
    ids = [entry.id for entry in entries if entry.id is not None]
    if len(set(ids)) < len(entries):
        ids = [str(number) for number in range(1, len(entries) + 1)]
    return [
        Question(id=own_id, question=entry.question, reference=entry.reference or "")
        for own_id, entry in zip(ids, entries, strict=True)
    ]


def _chosen(
    questions: list[Question], limit: int | None, sample: int | None, seed: int
) -> list[Question]:
    questions = questions[:limit]
    if sample is None or sample >= len(questions):
        return questions
    # Numbers, not questions, are drawn: the same seed takes the same places of any set.
    numbers = random.Random(seed).sample(range(len(questions)), sample)
    return [questions[number] for number in sorted(numbers)]
