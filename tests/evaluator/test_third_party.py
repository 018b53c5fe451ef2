"""What all tools have in common, with one that only pretends to be a tool."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evaluator import report
from evaluator.report import Question
from evaluator.service import CannotRun
from evaluator.third_party import outcome as outcomes
from evaluator.third_party import running
from evaluator.third_party.command import Options, run
from evaluator.third_party.job import Gathered, Job, Plan, ToolFailed
from evaluator.third_party.lineup import TOOLS, find
from tests.evaluator import sample_report
from tests.evaluator.judging import REPOSITORY, is_alive
from tests.evaluator.test_main import evaluator
from tests.fakes.interpreters import executable
from tests.fakes.running import FakeEngine

QUESTIONS = (
    Question(id="a", question="什么是warp？", reference="32 个 thread"),
    Question(id="b", question="什么是SIMT？", reference="同一条指令 SIMT"),
)
JOB = Job(url="http://127.0.0.1:8001", model="m", questions=QUESTIONS)


class Pretending:
    """Runs a shell command as its tool, which writes the answers."""

    name = "pretending"
    package = "msgspec"

    def __init__(self, command: str = "") -> None:
        self.command = command

    def prepare(self, job: Job, folder: Path, python: Path) -> Plan:
        (folder / "questions").write_text("".join(one.reference + "\n" for one in job.questions))
        command = self.command or "cp questions answers"
        return Plan(("sh", "-c", command), "TOOL_KEY", {"OWN": "it's"})

    def read(self, job: Job, folder: Path) -> Gathered:
        path = folder / "answers"
        if not path.exists():
            raise ToolFailed("wrote nothing")
        return Gathered({"its own": 99.5}, path.read_text().splitlines())


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine.start() as engine:
        yield engine


def write_questions(folder: Path) -> Path:
    path = folder / "set.jsonl"
    lines = [{"id": one.id, "question": one.question, "answer": one.reference} for one in QUESTIONS]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def start(
    engine: FakeEngine, folder: Path, command: str = "", **changes: object
) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    printed = StringIO()
    given: dict[str, object] = {
        "url": engine.url,
        "questions": write_questions(folder),
        "json": folder / "out.json",
        "python": Path(sys.executable),
        "key_variable": "OUR_KEY",
    }
    options = Options(**{**given, **changes})  # type: ignore[arg-type]
    code = run(Pretending(command), options, Console(file=printed, width=160))
    return code, printed.getvalue()


def test_figures_stand_beside_ours(engine: FakeEngine, tmp_path: Path) -> None:
    code, printed = start(engine, tmp_path)
    assert code == 0
    assert "its own" in printed
    assert "99.5000" in printed
    assert printed.count("ours, same answers") == 4
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["model"] == "fake-model"
    assert made["figures"] == {"its own": 99.5}
    assert list(made["ours"].values()) == [1.0, 1.0, 1.0, 0.0]
    assert [one["answer"] for one in made["answers"]] == [one.reference for one in QUESTIONS]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_name_that_is_not_utf_8_does_not_cost_the_records(
    engine: FakeEngine, tmp_path: Path
) -> None:
    path = write_questions(tmp_path).rename(tmp_path / os.fsdecode(b"\xce\xca.jsonl"))
    assert start(engine, tmp_path, questions=path)[0] == 0
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["question_set"] == f"{tmp_path}/??.jsonl"


def test_tool_reaches_the_engine_and_nothing_else(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "secret's")
    start(engine, tmp_path, "env >environ; cat /proc/$$/cmdline >cmdline; cp questions answers")
    environ = dict(
        line.split("=", 1) for line in (tmp_path / "out/environ").read_text().splitlines()
    )
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert environ["https_proxy"] == "http://127.0.0.1:9"
    assert environ["no_proxy"].startswith("127.0.0.1")
    assert (environ["OWN"], environ["TOOL_KEY"]) == ("it's", "secret's")
    assert "secret" not in (tmp_path / "out/cmdline").read_text()
    assert "secret" not in running.shell_command(Plan(("x",), "K"), {}, tmp_path, "OUR_KEY")


def test_download_fails_at_once(engine: FakeEngine, tmp_path: Path) -> None:
    fetch = (
        f"{sys.executable} -c 'import urllib.request as r; r.urlopen(\"http://example.invalid/\")'"
    )
    with pytest.raises(CannotRun, match="Connection refused"):
        start(engine, tmp_path, fetch)


def test_tool_that_fails_is_told_with_the_end_of_its_output(
    engine: FakeEngine, tmp_path: Path
) -> None:
    with pytest.raises(CannotRun, match=r"pretending ended with exit code 4; the end of(.|\n)*bad"):
        start(engine, tmp_path, "echo bad; exit 4")


def test_success_without_a_result_is_no_success(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="wrote nothing"):
        start(engine, tmp_path, "exit 0")


def test_a_judged_run_stands_beside_it(engine: FakeEngine, tmp_path: Path) -> None:
    records = [
        sample_report.record(one.id, one.question, one.reference, answer)
        for one, answer in zip(QUESTIONS, ("", "SIMT"), strict=True)
    ]
    report.write(sample_report.report(records, name="judged"), tmp_path / "judged.json")
    code, printed = start(engine, tmp_path, beside=tmp_path / "judged.json")
    assert code == 0
    assert printed.count("ours, judged: judged") == 4
    made = json.loads((tmp_path / "out.json").read_text())
    assert (made["judged"]["empty"], made["judged"]["official RougeL F1"]) == (0.5, 0.5)


def test_a_judged_run_of_other_questions_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    report.write(sample_report.report(), tmp_path / "judged.json")
    (tmp_path / "set.jsonl").write_text('{"question": "x", "answer": "y"}')
    with pytest.raises(CannotRun, match="has no answer to 1 of these questions"):
        options = Options(engine.url, tmp_path / "set.jsonl", beside=tmp_path / "judged.json")
        run(Pretending(), with_python(options, tmp_path), Console(file=StringIO()))


def with_python(options: Options, folder: Path) -> Options:
    from dataclasses import replace

    return replace(options, python=Path(sys.executable), json=folder / "out.json")


def test_files_of_an_earlier_run_are_left_alone(engine: FakeEngine, tmp_path: Path) -> None:
    assert start(engine, tmp_path)[0] == 0
    with pytest.raises(CannotRun, match="is there already"):
        start(engine, tmp_path)
    with pytest.raises(CannotRun, match=r"ends with \.json"):
        start(engine, tmp_path, json=tmp_path / "out")


def test_what_is_wrong_before_the_start_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"http://127.0.0.1:1/v1/models: ConnectError"):
        start(engine, tmp_path, url="http://127.0.0.1:1")
    with pytest.raises(CannotRun, match="cannot be read"):
        start(engine, tmp_path, questions=tmp_path / "no")
    with pytest.raises(CannotRun, match="has no msgspec"):
        start(engine, tmp_path, python=executable(tmp_path / "other", "exit 1"))


def test_tool_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="aisbench is not installed: run scripts/evaluate aisbench"):
        running.find_python(find("aisbench"), tmp_path)
    made = tmp_path / ".venv-aisbench" / "bin"
    made.mkdir(parents=True)
    executable(made / "python", "exit 0")
    assert running.find_python(find("aisbench"), tmp_path) == made / "python"


def test_interrupt_ends_the_tool_and_all_it_started(engine: FakeEngine, tmp_path: Path) -> None:
    """As a user does it: the real command, whose tool is a Python that sleeps."""
    pids = tmp_path / "pids"
    python = executable(
        tmp_path / "python",
        f'case "$*" in *metadata*) echo 1; exit ;; esac\n'
        f'setsid sleep 1000 & echo "$$ $!" >{pids}.new; mv {pids}.new {pids}; wait',
    )
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "evaluator", "lm-eval", engine.url),
            *("--questions", write_questions(tmp_path), "--python", python),
            *("--json", tmp_path / "out.json"),
        ],
        cwd=REPOSITORY,
    )
    until(pids.exists)
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == 130
    started = [int(pid) for pid in pids.read_text().split()]
    until(lambda: not any(map(is_alive, started)))


def until(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a poll, bounded by the deadline


def test_command_line(engine: FakeEngine, tmp_path: Path) -> None:
    """A tool that ends well and writes nothing, as AISBench does when its task fails."""
    python = executable(tmp_path / "python", "echo 1")
    for tool in TOOLS:
        words = (tool.name, engine.url, "--questions", write_questions(tmp_path))
        json_file = tmp_path / f"{tool.name}.json"
        assert evaluator(*words, "--python", python, "--json", json_file) == 3
        assert not json_file.exists()
    assert evaluator("aisbench", "nonsense") == 2
    assert evaluator("evalscope", engine.url, "--questions", tmp_path / "no") == 3


def test_our_figures() -> None:
    figures = outcomes.figures_of([("a b", "a b "), ("c", ""), ("d", "e")])
    assert list(figures.values()) == [pytest.approx(1 / 3)] * 4
    with pytest.raises(ValueError, match="no answers"):
        outcomes.figures_of([])
