"""Owns AISBench: its job file, and the folder that it writes (ais_bench, 3.1)."""

from __future__ import annotations

import json
import pprint
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from evaluator.third_party.job import Gathered, Job, Plan, ToolFailed
from evaluator.third_party.result_files import newest, read_answers, read_object

HUMANEVAL_COUNT = 164
_MODEL = """# The job of one run, written by `evaluator aisbench`.
from ais_bench.benchmark.models import VLLMCustomAPIChat
from ais_bench.benchmark.openicl.icl_inferencer import GenInferencer
from ais_bench.benchmark.openicl.icl_prompt_template import PromptTemplate
from ais_bench.benchmark.openicl.icl_retriever import ZeroRetriever
{imports}
# What a job file imports becomes a promise that cannot be called, os too.
key = __import__("os").environ.get({key_variable!r}, "")
models = [dict(type=VLLMCustomAPIChat, api_key=key, **{model})]
"""
_DATASET = """datasets = [
    dict(
        abbr="questions",
        type={dataset},
        path={path!r},
        reader_cfg=dict({reader}),
        infer_cfg=dict(
            prompt_template=dict(
                type=PromptTemplate,
                template=dict(round=[dict(role="HUMAN", prompt={prompt!r})]),
            ),
            retriever=dict(type=ZeroRetriever),
            inferencer=dict(type=GenInferencer),
        ),
        eval_cfg=dict({evaluation}),
    )
]
summarizer = dict(attr="accuracy", summary_groups=[])
"""
_QUESTIONS = {
    "dataset": "CustomDataset",
    "reader": 'input_columns=["question"], output_column="answer"',
    "prompt": "{question}",
    "evaluation": 'evaluator=dict(type=JiebaRougeEvaluator), pred_role="BOT"',
}
# As the tool's own configs/datasets/humaneval has it.
_HUMANEVAL = {
    "dataset": "HumanevalDataset",
    "reader": 'input_columns=["prompt"], output_column="task_id", train_split="test"',
    "prompt": (
        "You are an intelligent programming assistant to produce Python algorithmic solutions.\n"
        "Can you complete the following Python function?\n```python\n{prompt}\n```"
    ),
    "evaluation": (
        "evaluator=dict(type=HumanEvalEvaluator), k=[1, 10, 100], "
        "pred_postprocessor=dict(type=humaneval_postprocess_v2)"
    ),
}
_IMPORTS = {
    False: "from ais_bench.benchmark.datasets import CustomDataset\n"
    "from ais_bench.benchmark.openicl.icl_evaluator import JiebaRougeEvaluator\n",
    True: "from ais_bench.benchmark.datasets import HumanevalDataset\n"
    "from ais_bench.benchmark.datasets import HumanEvalEvaluator, humaneval_postprocess_v2\n",
}


class AisBench:
    """The tool."""

    name = "aisbench"
    package = "ais-bench-benchmark"

    def prepare(self, job: Job, folder: Path, python: Path) -> Plan:
        """Write the questions and the job file."""
        if 0 < len(job.problems) < HUMANEVAL_COUNT:
            raise ToolFailed("AISBench scores HumanEval as a whole only: leave --limit out")
        questions = folder / "questions.jsonl"
        questions.write_text(to_json_lines(job), encoding="utf-8")
        (folder / "job.py").write_text(job_file(job, questions), encoding="utf-8")
        argv = ("-m", "ais_bench.benchmark.cli.main", "job.py", "--work-dir", "out")
        return Plan((str(python), *argv, "--mode", "all"))

    def read(self, job: Job, folder: Path) -> Gathered:
        """Read the newest run's results and predictions."""
        return read_run(newest(folder / "out", "*/"), job.count)


def to_json_lines(job: Job) -> str:
    """Return the questions as AISBench's datasets read them."""
    if job.problems:
        return msgspec.json.Encoder().encode_lines(job.problems).decode()
    lines = [{"question": one.question, "answer": one.reference} for one in job.questions]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def job_file(job: Job, questions: Path) -> str:
    """Return the job file, a Python program in AISBench's way."""
    is_humaneval = bool(job.problems)
    model = {
        "attr": "service",
        "abbr": "engine",
        "path": "",
        "model": job.model,
        "stream": False,
        "request_rate": 0,
        "retry": 2,
        "url": f"{job.url}/",
        "max_out_len": job.max_tokens,
        "batch_size": job.concurrency,
        "trust_remote_code": False,
        "generation_kwargs": {"temperature": 0.0, "ignore_eos": False},
    }
    return _MODEL.format(
        imports=_IMPORTS[is_humaneval],
        key_variable=job.key_variable,
        model=pprint.pformat(model, sort_dicts=False),
    ) + _DATASET.format(path=str(questions), **(_HUMANEVAL if is_humaneval else _QUESTIONS))


def read_run(run: Path, count: int) -> Gathered:
    """Read one run's folder; raises ToolFailed: AISBench ends with 0 also when a task failed."""
    results = read_object(run / "results" / "engine" / "questions.json")
    # All that it writes for these two evaluations is in percent, which its names do not say.
    figures = {
        f"{name} %": float(value)
        for name, value in results.items()
        if isinstance(value, (int, float))
    }
    if not figures:
        raise ToolFailed(f"{run}: AISBench scored nothing: {json.dumps(results)[:300]}")
    path = run / "predictions" / "engine" / "questions.jsonl"
    return Gathered(figures, read_answers(path, itemgetter("id"), _answer_of, count))


def _answer_of(entry: dict[str, Any]) -> str:
    """A request that failed counts as an empty answer."""
    return str(entry["prediction"]) if entry.get("success", True) else ""
