"""Reports made by hand for the tests: the pocket model's pairs, some answers made worse."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from evaluator.report import Accuracy, PhaseReport, Record, Report
from evaluator.scoring import grade, jieba_score, official, speed
from evaluator.uncertainty import bootstrap_mean

POCKET = Path(__file__).parents[2] / "launcher" / "pocket.jsonl"
NAME = "SAMPLE DATA: pocket model, some answers made worse by hand"
OTHER_WORDS = {"执行": "运行", "数据": "资料", "线程": "thread", "因此": "所以", "通常": "一般"}


def pairs() -> list[tuple[str, str]]:
    lines = POCKET.read_text(encoding="utf-8").splitlines()
    return [(pair["question"], pair["answer"]) for pair in map(json.loads, lines) if pair]


def record(
    identity: str,
    question: str,
    reference: str,
    answer: str,
    latency_s: float | None = None,
    error: str = "",
) -> Record:
    return Record(
        id=identity,
        question=question,
        reference=reference,
        answer=answer,
        official=official(reference, answer),
        jieba=jieba_score(reference, answer),
        latency_s=latency_s,
        error=error,
    )


def records(mode: str = "batch", seed: int = 1) -> list[Record]:
    """One record of every pocket pair; six in ten answers are right."""
    chance = random.Random(seed)
    known = pairs()
    return [_record(number, known, mode, chance) for number in range(1, len(known) + 1)]


def report(
    made: Sequence[Record] | None = None,
    *,
    mode: str = "batch",
    name: str = NAME,
    seed: int = 1,
    problems: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Report:
    """A report of these records, or of all pocket pairs."""
    made = records(mode, seed) if made is None else made
    post_s = 1.87 if mode == "batch" else sum(one.latency_s or 0 for one in made)
    accuracy = _accuracy([one.official for one in made]) if made else None
    return Report(
        name=name,
        url="http://127.0.0.1:8000",
        track="metax",
        question_set="launcher/pocket.jsonl",
        started_at="2026-11-21T02:10:00Z",
        mode=mode,
        phases=(
            PhaseReport(name="build", started_s=0.0, seconds=214.6, limit_s=900.0),
            PhaseReport(
                name="health",
                started_s=214.6,
                seconds=31.4,
                limit_s=180.0,
                seen={"refused": 44, "503": 17, "ok" if mode == "single" else "batch": 1},
            ),
            PhaseReport(
                name="predict",
                started_s=246.0,
                seconds=post_s,
                limit_s=360.0,
                problem=problems[0] if problems else "",
            ),
        ),
        official=accuracy,
        jieba=_accuracy([one.jieba for one in made]) if made else None,
        speed=speed([one.answer for one in made], post_s) if made else None,
        grade=grade(accuracy.mean) if accuracy else "",
        problems=problems,
        warnings=warnings,
        records=tuple(made),
    )


def _record(
    number: int, known: Sequence[tuple[str, str]], mode: str, chance: random.Random
) -> Record:
    question, reference = known[number - 1]
    answer, error = _answer(reference, known, chance), ""
    latency_s = round(0.05 + len(answer) / 900 + chance.expovariate(12), 4)
    if chance.random() < 0.04:
        answer = ""
        error = "HTTP 500 after 0.1 s" if mode == "single" else "no answer in the list"
    return record(
        str(number), question, reference, answer, latency_s if mode == "single" else None, error
    )


def _answer(reference: str, known: Sequence[tuple[str, str]], chance: random.Random) -> str:
    draw = chance.random()
    if draw < 0.40:
        return reference
    if draw < 0.62:
        return _in_other_words(reference, chance)
    if draw < 0.78:
        return reference[: chance.randrange(8, max(9, len(reference)))]
    if draw < 0.92:
        return chance.choice(known)[1]
    return reference[:30] * chance.randrange(4, 12)


def _in_other_words(text: str, chance: random.Random) -> str:
    for word, other in OTHER_WORDS.items():
        text = text.replace(word, other)
    words = text.split(" ")
    return " ".join(word for word in words if chance.random() > 0.15)


def _accuracy(scores: Sequence[float]) -> Accuracy:
    return Accuracy(mean=sum(scores) / len(scores), interval=bootstrap_mean(scores))
