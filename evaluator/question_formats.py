"""Owns the shapes that a question set may have: marked paragraphs, JSON lines, JSON array, CSV.

From text to entries; which file, which encoding and which of the entries are questions.py's.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_QUESTION_KEYS = ("question", "prompt", "query", "instruction", "问题")
_ANSWER_KEYS = ("answer", "response", "output", "completion", "reference", "答案")
_TURN_KEYS = ("messages", "conversations")
_USER_ROLES = ("user", "human")
_ASSISTANT_ROLES = ("assistant", "gpt")
_SHAPES = "question/answer, prompt/response, query/response, instruction/output, messages"

# The first that marks a question anywhere marks all parts: in a set with 问题 and 答案, a line of
# an answer may well start with "问题1：" or "A:".
_MARKERS = (
    re.compile("\\s*(?:(?P<question>问题)|答案)\\s*[:\uff1a](?P<text>.*)"),
    re.compile("\\s*(?:(?P<question>问题)|答案)\\s*\\d+\\s*[:\uff1a](?P<text>.*)"),
    re.compile(
        "\\s*(?:(?P<question>Q(uestion)?)|A(nswer)?)\\s*\\d*\\s*[:\uff1a](?P<text>.*)", re.I
    ),
)
_NEXT_ITEM = re.compile(r"[\s,]*(?=[^\s,\]])")


class Malformed(ValueError):
    """Something is not as a question set has it; the message starts with where."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


class Entry(NamedTuple):
    """One question as it stands in the file; what the file does not give is None."""

    where: str
    id: str | None
    question: str
    reference: str | None


class _Part(NamedTuple):
    where: str
    is_question: bool
    lines: list[str]


def from_paragraphs(paragraphs: Sequence[str]) -> Iterator[Entry]:
    """Paragraphs `问题：…` and `答案：…`; every other line belongs to the part above it."""
    question: _Part | None = None
    for part in _parts(paragraphs):
        if part.is_question:
            if question:
                yield _from_parts(question, None)
            question = part
        elif question:
            yield _from_parts(question, part)
            question = None
        else:
            raise Malformed(part.where, "an answer without a question of its own before it")
    if question:
        yield _from_parts(question, None)


def from_json_lines(text: str) -> Iterator[Entry]:
    """One JSON object in each line; blank lines do not count."""
    # Not splitlines(): JSON strings may hold U+2028 and the like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as exc:
                what = f"not JSON on one line: {exc.msg} at column {exc.colno}"
                raise Malformed(f"line {number}", what) from exc
            yield _from_value(f"line {number}", value)


def from_json_array(text: str) -> Iterator[Entry]:
    """One JSON array of objects."""
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        what = f"not JSON: {exc.msg} at column {exc.colno}"
        raise Malformed(f"line {exc.lineno}", what) from exc
    # Once more, item by item: only so is the line of each known.
    decoder = json.JSONDecoder()
    position, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    while found := _NEXT_ITEM.match(text, position):
        line += text.count("\n", position, found.end())
        value, end = decoder.raw_decode(text, found.end())
        yield _from_value(f"line {line}", value)
        line += text.count("\n", found.end(), end)
        position = end


def from_csv(text: str) -> Iterator[Entry]:
    """Rows under a header that names the columns, separated by comma, tab or semicolon."""
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        header = _names(next(reader))
        line = reader.line_num + 1
        for row in reader:
            if len(row) > len(header):
                what = f"{len(row)} fields under a header of {len(header)} (quotes missing?)"
                raise Malformed(f"line {line}", what)
            if any(cell.strip() for cell in row):
                yield _from_value(f"line {line}", dict(zip(header, row, strict=False)))
            line = reader.line_num + 1
    except csv.Error as exc:
        raise Malformed(f"line {line}", f"not a CSV row: {exc}") from exc


def _parts(paragraphs: Sequence[str]) -> list[_Part]:
    lines = [
        (f"paragraph {number}", line)
        for number, paragraph in enumerate(paragraphs, start=1)
        for line in paragraph.split("\n")
    ]
    marker = next((m for m in _MARKERS if any(_marks_question(m, line) for _, line in lines)), None)
    if marker is None:
        raise Malformed("paragraph 1 to the last", "none starts with 问题: (or Q:)")
    parts: list[_Part] = []
    for where, line in lines:
        if found := marker.match(line):
            parts.append(_Part(where, bool(found["question"]), [found["text"]]))
        elif parts:
            parts[-1].lines.append(line)
    return parts


def _marks_question(marker: re.Pattern[str], line: str) -> bool:
    found = marker.match(line)
    return bool(found and found["question"])


def _from_parts(question: _Part, answer: _Part | None) -> Entry:
    reference = "\n".join(answer.lines).strip() if answer else None
    return _entry(question.where, None, "\n".join(question.lines).strip(), reference)


def _delimiter(text: str) -> str:
    first_line = text.split("\n", 1)[0].rstrip("\r")
    for delimiter in (",", "\t", ";"):
        if _first_key(_names(first_line.split(delimiter)), (*_QUESTION_KEYS, *_TURN_KEYS)):
            return delimiter
    what = f"neither JSON nor a CSV header with one of the columns {', '.join(_QUESTION_KEYS)}"
    raise Malformed("line 1", what)


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]


def _first_key(names: Iterable[str], keys: Sequence[str]) -> str | None:
    names = set(names)
    return next((key for key in keys if key in names), None)


def _from_value(where: str, value: object) -> Entry:
    if not isinstance(value, dict):
        raise Malformed(where, f"a JSON object is needed here, this is {type(value).__name__}")
    own_id = value.get("id")
    entry_id = str(own_id) if isinstance(own_id, (str, int)) and own_id != "" else None
    question_key = _first_key(value, _QUESTION_KEYS)
    if question_key:
        question = _with_input(where, question_key, value)
        answer_key = _first_key(value, _ANSWER_KEYS)
        reference = _text(where, answer_key, value[answer_key]) if answer_key else None
        return _entry(where, entry_id, question, reference)
    turns_key = _first_key(value, _TURN_KEYS)
    if turns_key:
        return _entry(where, entry_id, *_last_turns(where, turns_key, value[turns_key]))
    names = ", ".join(map(str, value)) or "none"
    raise Malformed(where, f"has the fields {names}; known are {_SHAPES}")


def _with_input(where: str, key: str, value: Mapping[str, Any]) -> str:
    """The question; that of an instruction is followed by its input (the Alpaca format)."""
    question = _text(where, key, value[key])
    extra = _text(where, "input", value.get("input") or "") if key == "instruction" else ""
    return f"{question}\n{extra}" if extra else question


def _last_turns(where: str, key: str, turns: object) -> tuple[str, str | None]:
    """The last assistant's turn, if any, and the last user's turn before it."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Malformed(where, f"{key} is not a list of objects")
    roles = [turn.get("role", turn.get("from")) for turn in turns]
    texts = [turn.get("content", turn.get("value")) for turn in turns]
    answers = [i for i, role in enumerate(roles) if role in _ASSISTANT_ROLES]
    end = answers[-1] if answers else len(turns)
    questions = [i for i, role in enumerate(roles[:end]) if role in _USER_ROLES]
    if not questions:
        raise Malformed(where, f"{key} holds no turn of a user that is answered")
    reference = _text(where, "the assistant's turn", texts[end]) if answers else None
    return _text(where, "the user's turn", texts[questions[-1]]), reference


def _text(where: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Malformed(where, f"{name} is {type(value).__name__}, not text")
    return value


def _entry(where: str, entry_id: str | None, question: str, reference: str | None) -> Entry:
    if not question.strip():
        raise Malformed(where, "the question is empty")
    try:
        f"{entry_id}{question}{reference}".encode()
    except UnicodeEncodeError as exc:
        raise Malformed(where, "holds half a character (a lone surrogate)") from exc
    return Entry(where, entry_id, question, reference)
