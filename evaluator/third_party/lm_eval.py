"""Owns lm-eval, EleutherAI's harness: its task file, and the files that it writes (0.4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluator.third_party.job import Gathered, Job, Plan, ToolFailed
from evaluator.third_party.result_files import newest, read_answers, read_object

TASK = "evalgate_questions"


class LmEval:
    """The tool."""

    name = "lm-eval"
    package = "lm-eval"

    def prepare(self, job: Job, folder: Path, python: Path) -> Plan:
        """Write the questions and the task file."""
        if job.problems:
            raise ToolFailed(
                "lm-eval's HumanEval loads its scorer, code_eval, from Hugging Face when it runs: "
                "it cannot run offline; aisbench and evalscope can, and humaneval is our own"
            )
        questions = folder / "questions.jsonl"
        questions.write_text(to_json_lines(job), encoding="utf-8")
        task = json.dumps(task_file(job, questions), ensure_ascii=False, indent=2)
        (folder / f"{TASK}.yaml").write_text(task, encoding="utf-8")  # JSON is YAML
        return Plan(
            (str(python), "-m", "lm_eval", "run", *arguments(job)),
            key_variable="OPENAI_API_KEY",
            environ={"HF_HOME": str(folder / "cache")},
        )

    def read(self, job: Job, folder: Path) -> Gathered:
        """Read the results and the samples."""
        return read_output(folder / "out", job.count)


def to_json_lines(job: Job) -> str:
    """Return the questions with their numbers: the harness may write them in another order."""
    lines = [
        {"number": number, "question": one.question, "answer": one.reference}
        for number, one in enumerate(job.questions)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def task_file(job: Job, questions: Path) -> dict[str, Any]:
    """Return the task: the question as it is, the answer whole, metrics that load nothing."""
    return {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 0,
        "generation_kwargs": {
            # Without one the harness cuts at the first empty line.
            "until": ["<|im_end|>"],
            "max_gen_toks": job.max_tokens,
            "do_sample": False,
            "temperature": 0.0,
        },
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
            {"metric": "chrf", "aggregation": "chrf", "higher_is_better": True},
            {"metric": "bleu", "aggregation": "bleu", "higher_is_better": True},
        ],
        "metadata": {"version": 1.0},
    }


def arguments(job: Job) -> tuple[str, ...]:
    """Return the command line behind `lm_eval run`."""
    model = {
        "model": job.model,
        "base_url": f"{job.url}/v1/chat/completions",
        "num_concurrent": job.concurrency,
        "max_retries": 3,
        "tokenizer_backend": "None",
        "tokenized_requests": False,
    }
    return (
        *("--model", "local-chat-completions", "--model_args", json.dumps(model)),
        *("--tasks", TASK, "--include_path", ".", "--output_path", "out"),
        *("--log_samples", "--apply_chat_template", "--batch_size", "1"),
    )


def read_output(folder: Path, count: int) -> Gathered:
    """Read the newest result and its samples; raises ToolFailed."""
    results = read_object(newest(folder, "*/results_*.json")).get("results")
    found = results.get(TASK) if isinstance(results, dict) else None
    figures = {
        name.removesuffix(",none"): float(value)
        for name, value in (found or {}).items()
        if isinstance(value, (int, float)) and "stderr" not in name and "," in name
    }
    if not figures:
        raise ToolFailed(f"{folder}: lm-eval scored nothing: {json.dumps(found)[:300]}")
    path = newest(folder, f"*/samples_{TASK}_*.jsonl")
    answers = read_answers(
        path, lambda entry: entry["doc"]["number"], lambda entry: str(entry["resps"][0][0]), count
    )
    return Gathered(figures, answers)
