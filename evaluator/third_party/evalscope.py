"""Owns EvalScope: its task, the small program that runs it, the files that it writes (1.14)."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from evaluator.third_party.job import Gathered, Job, Plan, ToolFailed
from evaluator.third_party.result_files import newest, read_answers, read_object

_PROGRAM = """# Runs the task beside it, written by `evaluator evalscope`.
import json
import os

from evalscope import TaskConfig, run_task

if __name__ == "__main__":
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    run_task(TaskConfig(api_key=os.environ.get({key_variable!r}) or "EMPTY", **task))
"""
# HumanEval is loaded as a data set of Hugging Face's, which says so in its card.
_DATA_SET_CARD = """---
configs:
- config_name: openai_humaneval
  data_files:
  - split: test
    path: questions.jsonl
---
"""


class EvalScope:
    """The tool."""

    name = "evalscope"
    package = "evalscope"

    def prepare(self, job: Job, folder: Path, python: Path) -> Plan:
        """Write the questions, the task and the program that runs it."""
        questions = folder / "questions"
        questions.mkdir()
        (questions / "questions.jsonl").write_text(to_json_lines(job), encoding="utf-8")
        if job.problems:
            (questions / "README.md").write_text(_DATA_SET_CARD)
        task = json.dumps(task_file(job, questions), ensure_ascii=False, indent=2)
        (folder / "task.json").write_text(task, encoding="utf-8")
        (folder / "task.py").write_text(_PROGRAM.format(key_variable=job.key_variable))
        cache = str(folder / "cache")
        return Plan(
            (str(python), "task.py"),
            environ={"HF_HOME": cache, "MODELSCOPE_CACHE": cache, "EVALSCOPE_CACHE": cache},
        )

    def read(self, job: Job, folder: Path) -> Gathered:
        """Read the report and the predictions."""
        return read_output(folder / "out", benchmark_of(job), job.count)


def benchmark_of(job: Job) -> str:
    """Return EvalScope's name of what is run."""
    return "humaneval" if job.problems else "general_qa"


def to_json_lines(job: Job) -> str:
    """Return the questions as EvalScope's general_qa reads them, or HumanEval as it is."""
    if job.problems:
        return msgspec.json.Encoder().encode_lines(job.problems).decode()
    lines = [{"query": one.question, "response": one.reference} for one in job.questions]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def task_file(job: Job, questions: Path) -> dict[str, Any]:
    """Return the task: every question as it is, BLEU and Rouge of the whole answer."""
    name = benchmark_of(job)
    arguments: dict[str, Any] = {"local_path": str(questions)}
    if not job.problems:
        arguments["subset_list"] = ["questions"]
    return {
        "model": job.model,
        "api_url": f"{job.url}/v1",
        "eval_type": "openai_api",
        "datasets": [name],
        "dataset_args": {name: arguments},
        "generation_config": {"temperature": 0.0, "max_tokens": job.max_tokens},
        "eval_batch_size": job.concurrency,
        "work_dir": "out",
        "no_timestamp": True,
    }


def read_output(folder: Path, name: str, count: int) -> Gathered:
    """Read what one run wrote; raises ToolFailed."""
    path = newest(folder, f"reports/*/{name}.json")
    report = read_object(path)
    try:
        figures = {_name(one["identity"]): float(one["score"]) for one in report["metrics"]}
    except (ValueError, KeyError, TypeError) as exc:
        raise ToolFailed(f"{path}: is no report of EvalScope: {exc!r}") from exc
    if not figures:
        raise ToolFailed(f"{path}: EvalScope scored nothing")
    answers = newest(folder, f"predictions/*/{name}_*.jsonl")
    return Gathered(figures, read_answers(answers, itemgetter("index"), _answer_of, count))


def _name(identity: dict[str, Any]) -> str:
    """Such as `rouge l recall`, `accuracy pass_at_k 1`: the metric, and which of its variants."""
    aggregation = [identity["aggregation"]] if identity.get("aggregation") != "mean" else []
    dimensions = sorted((identity.get("dimensions") or {}).items(), reverse=True)
    return " ".join(
        str(part) for part in (identity["name"], *aggregation, *dict(dimensions).values())
    )


def _answer_of(entry: dict[str, Any]) -> str:
    content = entry["model_output"]["choices"][0]["message"]["content"]
    return content if isinstance(content, str) else ""
