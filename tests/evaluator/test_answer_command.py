from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evaluator.answer_command import (
    CannotAnswer,
    Options,
    encode,
    is_answered,
    read_questions,
    run,
)
from evaluator.answer_journal import Answered, Journal
from evaluator.answering import Patience
from evaluator.files import CannotWrite
from tests.evaluator.judging import REPOSITORY
from tests.fakes.service import FakeService, Health, Rule

QUICK = Patience(5, 5, (0.01,), (0.01,), 0.01)


def write_questions(folder: Path, count: int = 5) -> Path:
    path = folder / "questions.json"
    entries = [{"id": number, "question": f"问题{number}", "extra": 1} for number in range(count)]
    path.write_text(json.dumps(entries, ensure_ascii=False))
    return path


def answer(questions: Path, url: str, *, is_terminal: bool = False) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    printed = StringIO()
    console = Console(file=printed, width=200, force_terminal=is_terminal)
    options = Options(questions, questions.with_name("predict.json"), url, 2, QUICK)
    return run(options, console), printed.getvalue()


def answers_in(folder: Path) -> list[tuple[object, object, object]]:
    entries = json.loads((folder / "predict.json").read_text())
    assert all(list(entry) == ["id", "question", "answer"] for entry in entries)
    return [tuple(entry.values()) for entry in entries]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_question_file_becomes_answer_file(tmp_path: Path, is_terminal: bool) -> None:
    questions = write_questions(tmp_path)
    with FakeService().running_in_a_thread() as service:
        code, printed = answer(questions, service.url, is_terminal=is_terminal)
    assert code == 0
    assert "5 questions" in printed
    assert answers_in(tmp_path) == [
        (number, f"问题{number}", f"answer to 问题{number}") for number in range(5)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predict.json", "questions.json"]


def test_finished_file_is_not_made_again(tmp_path: Path) -> None:
    questions = write_questions(tmp_path)
    with FakeService().running_in_a_thread() as service:
        answer(questions, service.url)
        content = (tmp_path / "predict.json").read_bytes()
        posts = list(service.posts)
        code, printed = answer(questions, service.url)
    assert (code, service.posts) == (0, posts)
    assert "holds these 5 questions already" in printed
    assert (tmp_path / "predict.json").read_bytes() == content


def test_kill_between_the_finished_file_and_the_end_of_the_side_file(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, 2)
    asked, fingerprint = read_questions(questions)
    answers = [Answered("a"), Answered("b")]
    with Journal(tmp_path / "predict.json.partial", fingerprint, 2) as journal:
        journal.add(dict(enumerate(answers)))
    (tmp_path / "predict.json").write_bytes(encode(asked, answers))
    assert answer(questions, "http://127.0.0.1:1")[0] == 0
    assert [entry[2] for entry in answers_in(tmp_path)] == ["a", "b"]
    assert not (tmp_path / "predict.json.partial").exists()


def test_empty_question_file(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, 0)
    assert answer(questions, "http://127.0.0.1:1")[0] == 0
    assert answers_in(tmp_path) == []


def test_question_without_an_answer_is_reported(tmp_path: Path) -> None:
    questions = write_questions(tmp_path)
    with FakeService([Rule("status", match="问题3")]).running_in_a_thread() as service:
        code, printed = answer(questions, service.url)
    assert code == 1
    assert '1 got no answer; theirs is "":' in printed
    assert "  3: status 500" in printed
    assert [entry[2] == "" for entry in answers_in(tmp_path)] == [False] * 3 + [True, False]


def test_service_that_is_lost_leaves_what_was_answered(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, 8)
    rules = [Rule(match="问题1", times=1), Rule("status")]
    with FakeService(rules).running_in_a_thread() as service:
        code, printed = answer(questions, service.url)
        assert code == 1
        assert "5 questions in a row failed" in printed
        assert "2 of 8 are answered; the same command goes on from there" in printed
        assert not (tmp_path / "predict.json").exists()
        service.rules.clear()
        service.posts.clear()
        assert answer(questions, service.url)[0] == 0
        assert service.posts == [["问题2", "问题3"], ["问题4", "问题5"], ["问题6", "问题7"]]
    assert len(answers_in(tmp_path)) == 8


def test_waiting_is_shown(tmp_path: Path) -> None:
    questions = write_questions(tmp_path)
    health: list[Health] = ["503", "503", "batch"]
    with FakeService(health=health).running_in_a_thread() as service:
        code, printed = answer(questions, service.url, is_terminal=True)
    assert code == 0
    assert "5/5" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is not"),
        ("[1]", "is not"),
        ('[{"id": 1}]', "missing required field `question`"),
        ('[{"id": 1.5, "question": "a"}]', "is not"),
        ('[{"id": 1, "question": 2}]', r"\$\[0\]\.question"),
        (
            '[{"id": "a", "question": ""}, {"id": 1, "question": ""}, {"id": "a", "question": ""}]',
            "entries 1 and 3 have the same id 'a'",
        ),
    ],
)
def test_question_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "questions.json"
    path.write_text(text)
    with pytest.raises(CannotAnswer, match=message):
        read_questions(path)


def test_question_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CannotAnswer, match="cannot be read: No such file"):
        read_questions(tmp_path / "questions.json")
    (tmp_path / "latin").write_bytes(b'[{"id": 1, "question": "\xff"}]')
    with pytest.raises(CannotAnswer, match="is not"):
        read_questions(tmp_path / "latin")


@pytest.mark.parametrize("text", ["", "[]", '[{"id": 0, "question": "问题0"}]'])
def test_other_file_in_the_place_of_the_answers_is_not_overwritten(
    tmp_path: Path, text: str
) -> None:
    questions = write_questions(tmp_path, 1)
    (tmp_path / "predict.json").write_text(text)
    with pytest.raises(CannotAnswer, match="holds something else: move it away"):
        answer(questions, "http://127.0.0.1:1")
    assert (tmp_path / "predict.json").read_text() == text


def test_other_file_is_not_overwritten_either_when_a_run_goes_on(tmp_path: Path) -> None:
    """It was: the side file of an interrupted run kept it from being looked at."""
    questions = write_questions(tmp_path, 1)
    leave_side_file(questions)
    (tmp_path / "predict.json").write_text("[]")
    with pytest.raises(CannotAnswer, match="holds something else: move it away"):
        answer(questions, "http://127.0.0.1:1")
    assert (tmp_path / "predict.json").read_text() == "[]"
    assert (tmp_path / "predict.json.partial").exists()


def leave_side_file(questions: Path) -> None:
    """As a run does that was killed when the only question had just been answered."""
    _, fingerprint = read_questions(questions)
    with Journal(questions.with_name("predict.json.partial"), fingerprint, 1) as journal:
        journal.add({0: Answered("a")})


def test_folder_in_the_place_of_the_answers(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, 1)
    asked, _ = read_questions(questions)
    (tmp_path / "predict.json").mkdir()
    with pytest.raises(CannotAnswer, match="cannot be read: Is a directory"):
        is_answered(tmp_path / "predict.json", asked)


def test_answers_that_cannot_be_written_are_kept(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, 1)
    leave_side_file(questions)
    (tmp_path / ".predict.json.tmp").mkdir()
    with pytest.raises(CannotWrite, match="cannot be written"):
        answer(questions, "http://127.0.0.1:1")
    assert (tmp_path / "predict.json.partial").exists()


def program(questions: Path, out: Path, url: str) -> list[str]:
    words = [sys.executable, "-m", "evaluator", "answer", str(questions), "-o", str(out)]
    return [*words, "--url", url, "--chunk", "3"]


def digest_answer(prompt: str) -> str:
    """An answer that shows which question it belongs to, of uneven length."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return f"{prompt} → {digest}\n" * (1 + int(digest[0], 16) % 4)


def recorded(side_file: Path) -> set[int]:
    """The questions that whole lines of a side file hold."""
    lines = side_file.read_bytes().split(b"\n")[1:-1] if side_file.exists() else []
    return {int(key) for line in lines for key in json.loads(line)["answers"]}


def test_ten_interrupts_give_the_same_file_as_one_run(tmp_path: Path) -> None:
    """Kills and Ctrl-C by turns, at random moments: nothing recorded is ever asked again."""
    count = 120
    questions = write_questions(tmp_path, count)
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    side_file = tmp_path / "broken.json.partial"
    chance = random.Random(3)
    with FakeService([Rule(delay_s=0.02)], answer=digest_answer).running_in_a_thread() as service:
        subprocess.run(program(questions, whole, service.url), cwd=REPOSITORY, check=True)
        service.posts.clear()
        for turn in range(10):
            before = recorded(side_file)
            first_post = len(service.posts)
            goal = first_post + chance.randint(1, 3)
            number = (signal.SIGKILL, signal.SIGINT)[turn % 2]
            code = interrupt(
                program(questions, broken, service.url),
                number,
                lambda goal=goal: len(service.posts) >= goal,  # type: ignore[misc]
                chance.uniform(0, 0.04),
            )
            assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
            asked = {int(q[2:]) for post in service.posts[first_post:] for q in post}
            assert not asked & before
            assert before <= recorded(side_file)
        before = recorded(side_file)
        assert 10 <= len(before) < count
        service.posts.clear()
        subprocess.run(program(questions, broken, service.url), cwd=REPOSITORY, check=True)
        asked = {int(q[2:]) for post in service.posts for q in post}
        assert asked == set(range(count)) - before
    assert broken.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "broken.json",
        "questions.json",
        "whole.json",
    ]


def interrupt(
    command: list[str], number: signal.Signals, is_time: Callable[[], bool], wait_s: float
) -> int:
    """Start a program and end it by a signal, `wait_s` after the time has come."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not is_time():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)  # a poll, bounded by the deadline
    threading.Event().wait(wait_s)
    os.killpg(process.pid, number)
    return process.wait(30)
