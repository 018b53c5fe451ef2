from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluator import report
from evaluator.files import CannotWrite
from evaluator.judge_command import Options, run
from evaluator.service import CannotRun
from evaluator.tracks import Limits, Track
from tests.evaluator.judging import service_command
from tests.evaluator.test_engine_tokens import write_tokenizer
from tests.fakes.service import FakeService, Rule
from tests.ports import free_port

PAIRS = [(f"什么是thread {number}？", f"thread {number} 是线程") for number in range(6)]


def write_set(folder: Path, name: str = "set.jsonl", count: int = len(PAIRS)) -> Path:
    path = folder / name
    lines = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS[:count]]
    path.write_text("\n".join(lines))
    return path


def know(question: str) -> str:
    return dict(PAIRS)[question]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def judge(url: str, **fields: Any) -> tuple[int, str]:
    """Run the command in the current folder; return its exit code and what it printed."""
    out = StringIO()
    options = Options(
        **{
            "url": url,
            "questions": write_set(Path()),
            "track": Track.METAX,
            "limits": Limits(30, 30, 30),
            "json": Path("out/a.json"),
            **fields,
        }
    )
    return run(options, Console(file=out, width=200)), out.getvalue()


def test_run_leaves_a_json_file_and_a_page() -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        code, printed = judge(service.url)
    assert code == 0
    assert "VALID · ranked" in printed
    assert "report: out/a.html" in printed
    assert "records: out/a.json" in printed
    made = report.read(Path("out/a.json"))
    assert (made.name, made.question_set) == ("a", "set.jsonl")
    assert [record.answer for record in made.records] == [answer for _, answer in PAIRS]
    assert PAIRS[0][1] in Path("out/a.html").read_text()


def test_files_are_named_after_the_time_unless_told() -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        judge(service.url, json=None)
        judge(service.url, json=Path("b.json"), html=Path("page/c.html"), name="third try")
    json_file, html_file = sorted(Path("run").iterdir(), reverse=True)
    assert json_file.stem == html_file.stem
    assert json_file.name.startswith("judge-")
    assert report.read(Path("b.json")).name == "third try"
    assert Path("page/c.html").exists()


@pytest.mark.parametrize(
    ("fields", "asked", "name"),
    [
        ({"limit": 2}, 2, "set.jsonl, first 2"),
        ({"sample": 3, "seed": 7}, 3, "set.jsonl, sample of 3, seed 7"),
        ({"limit": 4, "sample": 2}, 2, "set.jsonl, first 4, sample of 2, seed 0"),
    ],
)
def test_part_of_a_set(fields: dict[str, Any], asked: int, name: str) -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        judge(service.url, **fields)
    assert [len(post) for post in service.posts] == [asked]
    assert report.read(Path("out/a.json")).question_set == name


def test_leaked_questions_are_counted() -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        training = write_set(Path(), "training.jsonl", count=4)
        assert (
            "leak: of 6 questions 4 stand word for word in training.jsonl, 2 nearly"
            in (judge(service.url, leak_check=training)[1])
        )
        Path("other.jsonl").write_text('{"question": "今天天气如何", "answer": "晴"}')
        assert "leak" not in judge(service.url, leak_check=Path("other.jsonl"))[1]


def test_real_tokens_are_counted() -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        assert "by tokenizer" in judge(service.url, tokenizer=write_tokenizer(Path()))[1]


@pytest.mark.parametrize(
    ("fields", "code", "line"),
    [
        ({"min_accuracy": 1.0, "min_speed": 1.0}, 0, ""),
        ({"min_speed": 1e9}, 1, "characters/s is under 1e+09"),
    ],
)
def test_thresholds(fields: dict[str, Any], code: int, line: str) -> None:
    with FakeService(answer=know).running_in_a_thread() as service:
        assert judge(service.url, **fields)[0] == code
        assert line in judge(service.url, **fields)[1]


def test_accuracy_under_its_threshold() -> None:
    with FakeService().running_in_a_thread() as service:
        code, printed = judge(service.url, min_accuracy=0.9)
    assert code == 1
    assert "is under 0.9" in printed
    assert "VALID" in printed


def test_failed_submission_is_exit_code_1_and_still_reported() -> None:
    with FakeService([Rule("garbage")]).running_in_a_thread() as service:
        code, printed = judge(service.url, min_accuracy=0.5)
    assert code == 1
    assert "THE SUBMISSION FAILS" in printed
    assert "is under" not in printed
    assert report.read(Path("out/a.json")).problems
    assert Path("out/a.html").exists()


def test_output_of_a_service_that_fails_is_shown() -> None:
    start = "echo CUDA out of memory; exit 3"
    code, printed = judge(f"http://127.0.0.1:{free_port()}", start=start)
    assert code == 1
    assert "CUDA out of memory" in printed
    assert "out/a.service.log" in printed


def test_interrupt_is_exit_code_130_and_still_reported() -> None:
    port = free_port()
    # The service presses Ctrl-C for us, as soon as it is asked.
    start = f"(sleep 1; kill -INT {os.getpid()}) & {service_command(port, '--delay-s', '600')}"
    code, printed = judge(f"http://127.0.0.1:{port}", start=start)
    assert code == 130
    assert "interrupted" in printed
    assert report.read(Path("out/a.json")).problems[0].endswith("interrupted")


def test_names_that_are_not_utf_8_do_not_cost_the_report() -> None:
    """As of a file out of an archive that was packed elsewhere; the whole run was lost."""
    questions = write_set(Path(), os.fsdecode("问题.jsonl".encode("gb18030")))
    json_file = Path(os.fsdecode(b"\xce\xca.json"))
    with FakeService(answer=know).running_in_a_thread() as service:
        code, _ = judge(service.url, questions=questions, leak_check=questions, json=json_file)
    assert code == 0
    made = report.read(json_file)
    assert (made.name, made.question_set) == ("??", "????.jsonl")
    assert "word for word in ????.jsonl" in made.warnings[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"questions": Path("no.jsonl")}, r"no\.jsonl: cannot be read"),
        ({"tokenizer": Path("no.json")}, r"no\.json: cannot be read"),
        ({"leak_check": Path("no.jsonl")}, r"no\.jsonl: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_found_before_the_run(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotRun, match=message):
        judge("http://127.0.0.1:1", **fields)


def make_file() -> None:
    Path("taken").write_text("")


@pytest.mark.parametrize(
    ("prepare", "fields", "message"),
    [
        (make_file, {"json": Path("taken/a.json")}, "taken"),
        (Path("folder").mkdir, {"html": Path("folder")}, "folder: cannot be written"),
        (lambda: None, {"json": Path("/proc/a.json")}, "/proc/a.json: cannot be written"),
    ],
)
def test_what_cannot_be_written_is_found_before_the_run(
    prepare: Callable[[], None], fields: dict[str, Any], message: str
) -> None:
    prepare()
    with pytest.raises(CannotWrite, match=message):
        judge("http://127.0.0.1:1", **fields)
