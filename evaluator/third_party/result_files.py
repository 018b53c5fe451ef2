"""Owns reading what a tool wrote: what is not there or is something else becomes ToolFailed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluator.third_party.job import ToolFailed


def newest(folder: Path, pattern: str) -> Path:
    """Return the last of the files of that pattern, by name."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise ToolFailed(f"{folder}: there is no {pattern}, so there is no result")
    return found[-1]


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that is one JSON object."""
    return _object(path, _text(path))


def read_answers(
    path: Path, number_of: Callable[[Any], Any], answer_of: Callable[[Any], str], count: int
) -> list[str]:
    """Read a file of JSON lines, each about one question, whose numbers begin with 0.

    Raises ToolFailed also when one has no answer.
    """
    answers: dict[int, str] = {}
    # Not splitlines(): JSON strings may hold U+2028 and the like as they are.
    for line in filter(None, _text(path).split("\n")):
        entry = _object(path, line)
        try:
            answers[int(number_of(entry))] = answer_of(entry)
        except (ValueError, KeyError, IndexError, TypeError) as exc:
            raise ToolFailed(f"{path}: has a line without an answer: {exc!r}") from exc
    missing = [number for number in range(count) if number not in answers]
    if missing:
        raise ToolFailed(
            f"{path}: {len(missing)} of {count} questions have no answer, "
            f"the first is number {missing[0] + 1}"
        )
    return [answers[number] for number in range(count)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ToolFailed(f"{path}: no result can be read there: {exc}") from exc


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ToolFailed(f"{path}: is not the JSON that was expected: {exc}") from exc
    if not isinstance(value, dict):
        raise ToolFailed(f"{path}: is not the JSON that was expected")
    return value
