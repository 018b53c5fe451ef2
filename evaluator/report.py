"""Owns what one judged run consists of, as plain values, and its JSON file.

It computes nothing: scoring.py, judge.py and compare.py do; terminal.py and html.py only show.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FORMAT = 1
"""Of the JSON file; a reader refuses another."""


class Question(msgspec.Struct, frozen=True):
    """One question with its reference answer; `id` is the set's own, else its number."""

    id: str
    question: str
    reference: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One question after the run. Scores are RougeL F1 in [0, 1]."""

    id: str
    question: str
    reference: str
    answer: str
    official: float
    jieba: float
    latency_s: float | None = None
    """Seconds of its own POST; None in batch mode, where there is one POST for all."""
    error: str = ""


class PhaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of the evaluation: build, health or predict."""

    name: str
    started_s: float
    """Seconds after the start of the run."""
    seconds: float
    limit_s: float
    problem: str = ""
    """Why it fails the submission; "" when it does not."""
    seen: dict[str, int] = {}
    """What was observed how often, such as {"refused": 20, "503": 3}."""


class Interval(msgspec.Struct, frozen=True):
    """A bootstrap confidence interval of a mean."""

    low: float
    high: float
    level: float


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A mean score over all questions, with its uncertainty."""

    mean: float
    interval: Interval


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What was returned per second of POST /predict."""

    characters: int
    post_s: float
    characters_per_s: float
    """The evaluator's figure, which it calls tokens per second."""
    tokens: int | None = None
    tokens_per_s: float | None = None
    tokens_source: str = ""
    """Where the count of tokens comes from: "tokenizer" or "engine metrics"."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one judged run."""

    format: int = FORMAT
    name: str
    url: str
    track: str
    question_set: str
    started_at: str
    """ISO 8601, UTC."""
    mode: str
    """ "batch", "single", or "" when health was never reached."""
    phases: tuple[PhaseReport, ...]
    official: Accuracy | None
    jieba: Accuracy | None
    """None when the submission failed before it was scored."""
    speed: Speed | None
    grade: str
    """The grade band of the official accuracy, see scoring.grade."""
    problems: tuple[str, ...] = ()
    """Why the submission fails; empty for a valid run."""
    warnings: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()


class UnreadableReport(ValueError):
    """A file is not a report of this format; the message names it."""


def write(report: Report, path: Path) -> None:
    """Write the report as JSON, in one step: a reader never finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    temporary.replace(path)


def read(path: Path) -> Report:
    """Read a report; raises UnreadableReport."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as exc:
        raise UnreadableReport(f"{path}: cannot be read: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UnreadableReport(f"{path}: is not a report of `evaluator judge`: {exc}") from exc
    if report.format != FORMAT:
        raise UnreadableReport(f"{path}: has format {report.format}, this program reads {FORMAT}")
    return report
