"""Each tool's configuration, and its result files as real runs of it left them.

tool_results/ holds what AISBench 3.1.20260630, EvalScope 1.14.1 and lm-eval 0.4.13 wrote over the
learnt set, cut to the first questions and without what tells of the machine.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluator.humaneval import problems as problem_set
from evaluator.report import Question
from evaluator.third_party import aisbench, evalscope, lm_eval
from evaluator.third_party.aisbench import AisBench
from evaluator.third_party.evalscope import EvalScope
from evaluator.third_party.job import Job, Tool, ToolFailed
from evaluator.third_party.lineup import TOOLS
from evaluator.third_party.lm_eval import LmEval
from evaluator.third_party.result_files import read_answers

RESULTS = Path(__file__).with_name("tool_results")
PYTHON = Path("/python")
TWO = (
    Question(id="1", question="什么是warp？", reference="32 个 thread"),
    Question(id="2", question="{什么}是'SIMT'？", reference="同一条指令"),
)
JOB = Job("http://127.0.0.1:8001", "a model", TWO, key_variable="KEY", max_tokens=77)
HUMANEVAL = Job("http://127.0.0.1:8001", "m", problems=tuple(problem_set.load()))


def count_of(tool: Tool) -> int:
    return 3 if tool.name == "aisbench" else 2


def job_of(count: int) -> Job:
    return Job("u", "m", TWO[:1] * count)


@pytest.mark.parametrize(
    ("tool", "figures", "answer"),
    [
        (AisBench(), {"rougeL %": 30.263339915414655}, "warp 是 GPU 调度与执行的基本单位，由 32"),
        (EvalScope(), {"rouge l f1": 1.0, "bleu 1": 1.0}, "warp 是 GPU 调度与执行的基本单位，在"),
        (LmEval(), {"exact_match": 1.0, "chrf": 100.0}, "warp 是 GPU 调度与执行的基本单位，在"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_results_of_a_real_run_are_read(tool: Tool, figures: dict[str, float], answer: str) -> None:
    found = tool.read(job_of(count_of(tool)), RESULTS / tool.name)
    assert figures.items() <= found.figures.items()
    assert all("stderr" not in name for name in found.figures)
    assert found.answers[0].startswith(answer)
    assert len(found.answers) == count_of(tool)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_missing_answer_is_no_result(tool: Tool) -> None:
    with pytest.raises(ToolFailed, match="1 of . questions have no answer"):
        tool.read(job_of(count_of(tool) + 1), RESULTS / tool.name)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_missing_or_broken_file_is_told(tool: Tool, tmp_path: Path) -> None:
    job = job_of(count_of(tool))
    with pytest.raises(ToolFailed):
        tool.read(job, tmp_path)
    files = [path.relative_to(RESULTS) for path in (RESULTS / tool.name).rglob("*.json*")]
    assert len(files) == 2
    for file in files:
        for content in (None, "", "{}", "[]", '{"results": {}, "metrics": []}', "not json"):
            copy = tmp_path / "copy"
            shutil.copytree(RESULTS / tool.name, copy / tool.name)
            if content is None:
                (copy / file).unlink()
            else:
                (copy / file).write_text(content)
            with pytest.raises(ToolFailed):
                tool.read(job, copy / tool.name)
            shutil.rmtree(copy)


def test_line_separators_in_an_answer_are_part_of_it(tmp_path: Path) -> None:
    """JSON allows them inside of strings as they are; the line was cut there."""
    path = tmp_path / "answers.jsonl"
    said = "one\u2028two\x85three"
    lines = [json.dumps({"n": n, "said": said}, ensure_ascii=False) for n in range(2)]
    path.write_text("\n".join(lines) + "\n")
    answers = read_answers(path, lambda entry: entry["n"], lambda entry: entry["said"], 2)
    assert answers == [said, said]


def test_request_that_failed_in_aisbench_is_an_empty_answer(tmp_path: Path) -> None:
    copy = shutil.copytree(RESULTS / "aisbench", tmp_path / "aisbench")
    path = next(copy.rglob("predictions/engine/questions.jsonl"))
    path.write_text(path.read_text().replace('"success": true', '"success": false', 1))
    assert AisBench().read(job_of(3), copy).answers[0] == ""


def test_job_file_of_aisbench_is_python_with_all_in_it(tmp_path: Path) -> None:
    plan = AisBench().prepare(JOB, tmp_path, PYTHON)
    text = (tmp_path / "job.py").read_text()
    compile(text, "job.py", "exec")
    for part in ("'a model'", "http://127.0.0.1:8001/'", "'max_out_len': 77", "JiebaRouge", "KEY"):
        assert part in text
    lines = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert lines[1] == {"question": "{什么}是'SIMT'？", "answer": "同一条指令"}
    assert plan.argv[0] == "/python"
    assert plan.key_variable == ""


def test_humaneval_of_aisbench(tmp_path: Path) -> None:
    AisBench().prepare(HUMANEVAL, tmp_path, PYTHON)
    text = (tmp_path / "job.py").read_text()
    compile(text, "job.py", "exec")
    assert "HumanEvalEvaluator" in text
    assert "```python\\n{prompt}\\n```" in text
    assert len((tmp_path / "questions.jsonl").read_text().splitlines()) == 164
    with pytest.raises(ToolFailed, match="leave --limit out"):
        AisBench().prepare(Job("u", "m", problems=HUMANEVAL.problems[:3]), tmp_path, PYTHON)


def test_task_of_evalscope(tmp_path: Path) -> None:
    EvalScope().prepare(JOB, tmp_path, PYTHON)
    task = json.loads((tmp_path / "task.json").read_text())
    assert task["api_url"] == "http://127.0.0.1:8001/v1"
    assert task["generation_config"] == {"temperature": 0.0, "max_tokens": 77}
    local = tmp_path / "questions"
    assert task["dataset_args"]["general_qa"]["local_path"] == str(local)
    assert (
        json.loads((local / "questions.jsonl").read_text().splitlines()[0])["query"]
        == "什么是warp？"
    )
    program = (tmp_path / "task.py").read_text()
    compile(program, "task.py", "exec")
    assert "os.environ.get('KEY')" in program


def test_humaneval_of_evalscope_is_a_local_data_set(tmp_path: Path) -> None:
    EvalScope().prepare(HUMANEVAL, tmp_path, PYTHON)
    assert json.loads((tmp_path / "task.json").read_text())["datasets"] == ["humaneval"]
    assert "path: questions.jsonl" in (tmp_path / "questions/README.md").read_text()
    first = json.loads((tmp_path / "questions/questions.jsonl").read_text().split("\n")[0])
    assert sorted(first) == ["canonical_solution", "entry_point", "prompt", "task_id", "test"]


def test_task_of_lm_eval(tmp_path: Path) -> None:
    plan = LmEval().prepare(JOB, tmp_path, PYTHON)
    task = json.loads((tmp_path / "evalgate_questions.yaml").read_text())
    assert task["dataset_kwargs"]["data_files"] == {"test": str(tmp_path / "questions.jsonl")}
    assert task["generation_kwargs"]["max_gen_toks"] == 77
    model = json.loads(plan.argv[plan.argv.index("--model_args") + 1])
    assert model["base_url"] == "http://127.0.0.1:8001/v1/chat/completions"
    assert plan.key_variable == "OPENAI_API_KEY"


def test_humaneval_of_lm_eval_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="from Hugging Face when it runs: it cannot run offline"):
        LmEval().prepare(HUMANEVAL, tmp_path, PYTHON)


def test_names_of_evalscope() -> None:
    assert evalscope.benchmark_of(JOB) == "general_qa"
    assert aisbench.to_json_lines(JOB).count("\n") == lm_eval.to_json_lines(JOB).count("\n") == 2
