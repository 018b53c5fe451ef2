"""Owns the marking: answers become records with their scores, records become the accuracies."""

from __future__ import annotations

from collections.abc import Sequence

from evaluator import scoring
from evaluator.predicting import Answer
from evaluator.report import Accuracy, Question, Record
from evaluator.uncertainty import bootstrap_mean


def mark(questions: Sequence[Question], answers: Sequence[Answer]) -> list[Record]:
    """Score the questions that have an answer, which are the first ones."""
    return [
        Record(
            id=question.id,
            question=question.question,
            reference=question.reference,
            answer=answer.text,
            official=scoring.official(question.reference, answer.text),
            jieba=scoring.jieba_score(question.reference, answer.text),
            latency_s=answer.latency_s,
            error=answer.error,
        )
        for question, answer in zip(questions, answers, strict=False)
    ]


def accuracies(records: Sequence[Record]) -> tuple[Accuracy | None, Accuracy | None]:
    """Return the official accuracy and jieba's; None where nothing was scored."""
    if not records:
        return None, None
    official = _accuracy([record.official for record in records])
    return official, _accuracy([record.jieba for record in records])


def _accuracy(scores: Sequence[float]) -> Accuracy:
    return Accuracy(mean=sum(scores) / len(scores), interval=bootstrap_mean(scores))
