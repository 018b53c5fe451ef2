"""Compares the answers of a batch with what they had to be. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.client import Reply
from tests.chaos.result import REPLY_S, Run

Need = Literal["whole", "part", "any part", "begins"]


@dataclass(frozen=True)
class Expected:
    """The answer that one prompt must get.

    `whole`: exactly this text. `part`: a beginning of it, not empty. `any part`: it cannot be
    answered inside the deadline, so a beginning or nothing. `begins`: this text and more.
    """

    text: str
    need: Need = "whole"


def judge(reply: Reply, expected: Sequence[Expected], deadline_s: float) -> Run:
    """Count what is lost, out of order and late in a reply to a batch."""
    answers = reply.answers
    missing = max(0, len(expected) - len(answers))
    surplus = max(0, len(answers) - len(expected))
    texts = frozenset(each.text for each in expected)
    verdicts = [_verdict(*pair, texts) for pair in zip(answers, expected, strict=False)]
    return Run(
        prompts=len(expected),
        lost=missing + verdicts.count("lost"),
        out_of_order=surplus + verdicts.count("foreign"),
        late=len(expected) if is_late(reply, deadline_s) else 0,
        note="" if reply.status == 200 else str(reply),
    )


def is_late(reply: Reply, deadline_s: float) -> bool:
    """Whether a reply came too late for the evaluator."""
    return reply.seconds > deadline_s + REPLY_S


def _verdict(
    answer: str, expected: Expected, texts: Collection[str]
) -> Literal["good", "lost", "foreign"]:
    if answer == expected.text or (expected.need == "begins" and answer.startswith(expected.text)):
        return "good"
    if answer in texts or not expected.text.startswith(answer):
        return "foreign"
    is_enough = expected.need == "any part" or (expected.need == "part" and answer)
    return "good" if is_enough else "lost"


def wholes(texts: Sequence[str]) -> list[Expected]:
    """Expect every answer whole."""
    return [Expected(text) for text in texts]
