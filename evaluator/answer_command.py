"""Owns `evaluator answer`: question file, finished file, progress bar, exit code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec
from rich.console import Console
from rich.text import Text

from evaluator import interrupts
from evaluator.answer_journal import Answered, Journal
from evaluator.answering import Asker, Patience, ServiceLost
from evaluator.client import Client
from evaluator.counting import counting
from evaluator.files import cannot_write, replace_file
from evaluator.interrupts import Interrupts
from evaluator.terminal import plain

FAILED = 1
"""Exit code: a question has no answer, or the service was lost."""
SHOWN_FAILURES = 5


class CannotAnswer(Exception):
    """The question file, or the file for the answers, cannot be used; the message says why."""


class Asked(msgspec.Struct, frozen=True):
    """One entry of the question file; whatever else it holds is not taken over."""

    id: int | str
    question: str


class Finished(Asked, frozen=True):
    """One entry of the finished file."""

    answer: str


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    questions: Path
    out: Path
    url: str
    chunk: int
    patience: Patience = field(default_factory=Patience)


def run(options: Options, console: Console) -> int:
    """Answer a question file and return the exit code; raises CannotAnswer, JournalError."""
    asked, fingerprint = read_questions(options.questions)
    side_file = options.out.with_name(options.out.name + ".partial")
    # Also with a side file: what is there may be a file that is not ours to replace.
    is_finished = is_answered(options.out, asked)
    if is_finished and not side_file.exists():
        console.print(
            Text(f"{options.out} holds these {len(asked)} questions already: nothing asked")
        )
        return 0
    with Journal(side_file, fingerprint, len(asked)) as journal:
        try:
            return anyio.run(_answer, options, asked, journal, console)
        except ServiceLost as exc:
            console.print(Text(str(exc), style="bold red"), soft_wrap=True)
            _tell_to_resume(journal, len(asked), console)
            return FAILED


def read_questions(path: Path) -> tuple[list[Asked], str]:
    """Return the questions and a fingerprint of the file; raises CannotAnswer."""
    try:
        content = path.read_bytes()
        asked = msgspec.json.decode(content, type=list[Asked])
    except OSError as exc:
        raise CannotAnswer(f"{path}: cannot be read: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CannotAnswer(f'{path}: is not [{{"id", "question"}}, …]: {exc}') from exc
    _refuse_doubles(path, asked)
    return asked, hashlib.sha256(content).hexdigest()


def _refuse_doubles(path: Path, asked: Sequence[Asked]) -> None:
    places: dict[int | str, int] = {}
    for place, entry in enumerate(asked, start=1):
        first = places.setdefault(entry.id, place)
        if first != place:
            raise CannotAnswer(f"{path}: entries {first} and {place} have the same id {entry.id!r}")


def is_answered(path: Path, asked: Sequence[Asked]) -> bool:
    """Whether the finished file is there; raises CannotAnswer when it is some other file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise CannotAnswer(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        finished = msgspec.json.decode(content, type=list[Finished])
    except (msgspec.DecodeError, UnicodeDecodeError):
        finished = []
    if [(it.id, it.question) for it in finished] != [(it.id, it.question) for it in asked]:
        raise CannotAnswer(f"{path}: is there and holds something else: move it away first")
    return True


async def _answer(
    options: Options, asked: Sequence[Asked], journal: Journal, console: Console
) -> int:
    stop = Interrupts()
    with counting(console) as progress:
        task = progress.add_task("answering", total=len(asked), completed=len(journal.answers))

        def show_answers() -> None:
            progress.update(task, description="answering", completed=len(journal.answers))

        def show_waiting(seen: str) -> None:
            progress.update(task, description=f"waiting for {options.url} ({seen})")

        async with Client(options.url) as client:
            asker = Asker(client, options.patience, show_waiting)
            questions = [entry.question for entry in asked]
            with stop.cancelling():
                await asker.answer_all(questions, journal, options.chunk, show_answers)
    if len(journal.answers) < len(asked):
        _tell_to_resume(journal, len(asked), console)
        return interrupts.EXIT_CODE
    return _finish(options.out, asked, journal, console)


def _finish(path: Path, asked: Sequence[Asked], journal: Journal, console: Console) -> int:
    answers = [journal.answers[index] for index in range(len(asked))]
    with cannot_write(path):
        replace_file(path, encode(asked, answers))
        journal.remove()
    console.print(Text(f"{path}: {len(asked)} questions"), soft_wrap=True)
    failed = [
        (entry.id, answer.error)
        for entry, answer in zip(asked, answers, strict=True)
        if answer.error
    ]
    if failed:
        console.print(Text(f'{len(failed)} got no answer; theirs is "":', style="bold red"))
    for own_id, error in failed[:SHOWN_FAILURES]:
        console.print(Text(f"  {plain(str(own_id), 40)}: {plain(error, 200)}"), soft_wrap=True)
    return FAILED if failed else 0


def encode(asked: Sequence[Asked], answers: Sequence[Answered]) -> bytes:
    """Return the finished file, in the order of the question file."""
    entries = [
        Finished(entry.id, entry.question, answer.answer)
        for entry, answer in zip(asked, answers, strict=True)
    ]
    return msgspec.json.format(msgspec.json.encode(entries), indent=1) + b"\n"


def _tell_to_resume(journal: Journal, total: int, console: Console) -> None:
    console.print(
        Text(
            f"{len(journal.answers)} of {total} are answered; the same command goes on from there"
        ),
        soft_wrap=True,
    )
