from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluator import report
from evaluator.__main__ import app
from tests.evaluator import sample_report
from tests.evaluator.judging import PYTHON, REPOSITORY, is_alive, service_command
from tests.evaluator.test_judge_command import know, write_set
from tests.fakes.service import FakeService
from tests.ports import free_port


def evaluator(*words: str | Path) -> int:
    """Run the program in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words], prog_name="evaluator")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.json"
    with FakeService(answer=know).running_in_a_thread() as service:
        words = ("judge", service.url, "--questions", write_set(tmp_path), "--json", out)
        assert evaluator(*words, "--track", "paratera", "--health-limit", "7.5") == 0
    made = report.read(out)
    assert (made.track, [phase.limit_s for phase in made.phases]) == ("paratera", [7.5, 360])
    assert "VALID" in capsys.readouterr().out


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]
    report.write(sample_report.report(name="before", seed=1), files[0])
    report.write(sample_report.report(name="after", seed=2), files[1])
    assert evaluator("compare", *files[:2], "--json", files[2]) == 0
    assert "before" in capsys.readouterr().out
    assert json.loads(files[2].read_text())["name_b"] == "after"
    assert evaluator("compare", *files[:2]) == 0
    assert evaluator("compare", *files[:2], "--json", tmp_path / "no" / "c.json") == 3
    assert "c.json" in capsys.readouterr().err


def test_answer(tmp_path: Path) -> None:
    questions = tmp_path / "questions.json"
    questions.write_text('[{"id": "a", "question": "什么"}]')
    out = tmp_path / "predict.json"
    with FakeService().running_in_a_thread() as service:
        assert evaluator("answer", questions, "-o", out, "--url", service.url) == 0
    assert json.loads(out.read_text()) == [
        {"id": "a", "question": "什么", "answer": "answer to 什么"}
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["judge", "--questions", "no.jsonl"], "evaluator: no.jsonl: cannot be read: No such"),
        (["compare", "a.json", "b.json"], "evaluator: a.json: cannot be read: No such"),
        (["answer", "q.json", "-o", "p.json"], "evaluator: q.json: cannot be read: No such"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_3(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluator(*words) == 3
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["judge"], "Missing option '--questions'"),
        (["judge", "127.0.0.1:8000", "--questions", "a"], "is not http://HOST[:PORT]"),
        (["judge", "--questions", "a", "--track", "amd"], "is not one of 'metax'"),
        (["judge", "--questions", "a", "--limit", "0"], "'--limit'"),
        (["judge", "--questions", "a", "--sample", "-1"], "'--sample'"),
        (["judge", "--questions", "a", "--predict-limit", "0"], "0 is not a number over 0"),
        (["judge", "--questions", "a", "--build-limit", "nan"], "nan is not a number over 0"),
        (["judge", "--questions", "a", "--health-limit", "inf"], "inf is not a number over 0"),
        (["judge", "--questions", "a", "--min-accuracy", "1.1"], "'--min-accuracy'"),
        (["judge", "--questions", "a", "--min-speed", "-1"], "'--min-speed'"),
        (["judge", "--questions", "a", "--seed", "x"], "'--seed'"),
        (["answer", "a", "-o", "b", "--chunk", "0"], "'--chunk'"),
        (["answer", "a", "-o", "b", "--timeout", "-2"], "-2 is not a number over 0"),
        (["answer", "a"], "Missing option '--out'"),
        (["compare", "a"], "Missing argument"),
        (["guess"], "No such command 'guess'"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluator(*words) == 2
    said = capsys.readouterr().err
    assert part in " ".join(said.replace("│", " ").split())


def test_keyboard_interrupt_outside_the_run_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "questions"
    os.mkfifo(pipe)
    words = ["-m", "evaluator", "answer", str(pipe), "-o", str(tmp_path / "p.json")]
    process = subprocess.Popen(
        [sys.executable, *words], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    with pipe.open("w"):  # opens when the program has opened it to read
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "evaluator: interrupted\n")


def test_ctrl_c_leaves_no_service_behind(tmp_path: Path) -> None:
    port = free_port()
    words = ["-m", "evaluator", "judge", f"http://127.0.0.1:{port}"]
    words += ["--questions", str(write_set(tmp_path)), "--json", str(tmp_path / "a.json")]
    words += ["--start", service_command(port, "--warming", "9999", "--child")]
    log = tmp_path / "a.service.log"
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (log.exists() and "serving" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a poll, bounded by the deadline
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "health: interrupted" in said
    assert "Traceback" not in said
    child = int(log.read_text().split("child ")[1].split()[0])
    assert not is_alive(child)


def test_smallest_service_is_judged(tmp_path: Path) -> None:
    """docs/examples/tiny_service.py, at another port."""
    port = free_port()
    source = (REPOSITORY / "docs/examples/tiny_service.py").read_text()
    service = tmp_path / "tiny_service.py"
    service.write_text(source.replace("9000", str(port)))
    out = tmp_path / "a.json"
    words = ("judge", f"http://127.0.0.1:{port}", "--questions", write_set(tmp_path))
    start = f"exec {PYTHON} {shlex.quote(str(service))}"
    assert evaluator(*words, "--start", start, "--json", out, "--min-accuracy", "0.1") == 0
    made = report.read(out)
    assert (made.mode, made.problems, made.warnings) == ("batch", (), ())
    assert len(source.splitlines()) < 45
