"""What counts as lost, out of order and late."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.chaos.client import Reply
from tests.chaos.judging import Expected, Need, judge, wholes

TEXTS = ["the first answer", "the second answer", "the third answer"]


def reply_of(answers: Sequence[str], seconds: float = 1.0) -> Reply:
    return Reply(200, seconds, json.dumps({"response": answers}).encode())


def counts_of(answers: Sequence[str], expected: Sequence[Expected]) -> tuple[int, int]:
    run = judge(reply_of(answers), expected, deadline_s=5)
    assert run.prompts == len(expected)
    return run.lost, run.out_of_order


def test_whole_answers_in_order_are_good() -> None:
    assert judge(reply_of(TEXTS), wholes(TEXTS), deadline_s=5).is_good


def test_empty_and_partial_answers_are_lost_where_whole_ones_are_due() -> None:
    assert counts_of(["", "the second", TEXTS[2]], wholes(TEXTS)) == (2, 0)


def test_swapped_answers_are_out_of_order() -> None:
    assert counts_of([TEXTS[1], TEXTS[0], TEXTS[2]], wholes(TEXTS)) == (0, 2)


def test_a_text_that_belongs_to_no_prompt_is_out_of_order() -> None:
    assert counts_of(["500 Internal Server Error", *TEXTS[1:]], wholes(TEXTS)) == (0, 1)


def test_missing_answers_are_lost_and_surplus_ones_out_of_order() -> None:
    assert counts_of(TEXTS[:1], wholes(TEXTS)) == (2, 0)
    assert counts_of([*TEXTS, "more"], wholes(TEXTS)) == (0, 1)


@pytest.mark.parametrize(
    ("need", "answer", "verdict"),
    [
        ("part", "the first", (0, 0)),
        ("part", "", (1, 0)),
        ("part", "a stranger", (0, 1)),
        ("any part", "", (0, 0)),
        ("any part", "the f", (0, 0)),
        ("any part", "the second answer", (0, 1)),
        ("begins", "the first answer and more", (0, 0)),
        ("begins", "the", (1, 0)),
    ],
)
def test_rows_may_ask_for_less_than_a_whole_answer(
    need: Need, answer: str, verdict: tuple[int, int]
) -> None:
    expected = [Expected(TEXTS[0], need), Expected(TEXTS[1])]
    assert counts_of([answer, TEXTS[1]], expected) == verdict


def test_another_prompts_answer_is_out_of_order_even_as_a_beginning() -> None:
    expected = [Expected("ab", "any part"), Expected("a")]
    assert counts_of(["a", "a"], expected) == (0, 1)


def test_a_reply_over_a_second_after_the_deadline_is_late() -> None:
    assert judge(reply_of(TEXTS, 5.9), wholes(TEXTS), deadline_s=5).late == 0
    assert judge(reply_of(TEXTS, 6.1), wholes(TEXTS), deadline_s=5).late == 3


def test_no_reply_loses_everything_and_says_so() -> None:
    run = judge(Reply(0, 0.2, cut="no answer"), wholes(TEXTS), deadline_s=5)
    assert run.lost == 3
    assert run.note == "status 0 after 0.2 s: no answer"


def test_a_single_answer_counts_as_a_batch_of_one() -> None:
    reply = Reply(200, 1.0, json.dumps({"response": TEXTS[0]}).encode())
    assert judge(reply, wholes(TEXTS[:1]), deadline_s=5).is_good


def test_counts_are_read_from_the_header() -> None:
    reply = Reply(200, 1.0, headers={"x-evalgate-answers": "whole=3 partial=2 blank=0"})
    assert reply.counts == {"whole": 3, "partial": 2, "blank": 0}
    assert Reply(200, 1.0).counts == {}
