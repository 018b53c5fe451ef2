"""The question sets that come with the project keep what their README promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluator import leak, questions
from evaluator.report import Question

SETS = Path(__file__).resolve().parents[2] / "evaluator" / "sets"


@pytest.fixture(scope="module")
def learnt() -> list[Question]:
    return questions.load(SETS / "pocket-learnt.jsonl")


@pytest.fixture(scope="module")
def heldout() -> list[Question]:
    return questions.load(SETS / "pocket-heldout.jsonl")


def test_learnt_set_is_what_the_pocket_model_is_trained_on(learnt: list[Question]) -> None:
    trained = questions.load(SETS.parents[1] / "launcher" / "pocket.jsonl")
    assert learnt == trained


def test_heldout_set_is_large_enough_and_has_no_question_twice(heldout: list[Question]) -> None:
    assert len(heldout) >= 40
    assert leak.leak_check(heldout[1:], heldout[:1]).leaked == 0
    assert len({entry.question for entry in heldout}) == len(heldout)


def test_no_heldout_question_or_answer_was_learnt(
    learnt: list[Question], heldout: list[Question]
) -> None:
    found = leak.leak_check(heldout, learnt, threshold=0.4)
    assert (found.exact, found.near) == ((), ())
    assert not {entry.reference for entry in heldout} & {entry.reference for entry in learnt}


def test_every_reference_can_score_officially(
    learnt: list[Question], heldout: list[Question]
) -> None:
    without = [e.reference for e in learnt + heldout if not re.search("[a-z0-9]", e.reference)]
    assert without == []
