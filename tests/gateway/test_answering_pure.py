"""The arithmetic of shortening a prompt; the engine's part of it is in test_answering.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answering import fitting_budget, fitting_chars, shorten

STEADY = settings(derandomize=True, deadline=None, max_examples=150)


def test_a_prompt_that_fits_is_left_alone() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("", 0) == ""


def test_shortening_cuts_the_middle_out() -> None:
    prompt = "instruction " + "x" * 1000 + " question"
    assert shorten(prompt, 41) == prompt[:19] + " … " + prompt[-19:]


@pytest.mark.parametrize(("chars", "left"), [(0, ""), (1, "a"), (3, "abc"), (4, "a … ")])
def test_where_the_mark_has_no_room_the_head_is_left(chars: int, left: str) -> None:
    assert shorten("abcdefgh", chars) == left


@STEADY
@given(prompt=st.text(max_size=200), chars=st.integers(0, 220))
def test_a_shortened_prompt_keeps_its_limit_its_head_and_its_tail(prompt: str, chars: int) -> None:
    short = shorten(prompt, chars)
    assert len(short) <= chars
    if len(prompt) <= chars:
        assert short == prompt
    else:
        head, mark, tail = short.rpartition(" … ")
        assert len(short) == chars
        assert prompt.startswith(head if mark else short)
        assert prompt.endswith(tail) or not mark


@STEADY
@given(
    chars=st.integers(1, 10**7),
    tokens=st.integers(0, 10**7),
    context=st.integers(0, 10**6),
    budget=st.integers(1, 131072),
)
def test_fitting_chars_always_shrinks_a_prompt(
    chars: int, tokens: int, context: int, budget: int
) -> None:
    assert 0 <= fitting_chars(chars, tokens, context, budget) < chars


@pytest.mark.parametrize(("tokens", "context"), [(0, 0), (0, 4096), (5000, 0)])
def test_without_counts_a_prompt_is_halved(tokens: int, context: int) -> None:
    assert fitting_chars(1000, tokens, context, 16) == 500


def test_with_counts_a_prompt_fits_at_once_beside_its_budget() -> None:
    chars, tokens, context, budget = 40_000, 10_000, 4096, 512
    fitting = fitting_chars(chars, tokens, context, budget)
    assert fitting * tokens / chars + budget <= context
    assert fitting * tokens / chars + budget > 0.9 * context


def test_a_huge_budget_leaves_a_prompt_half_of_the_context() -> None:
    fitting = fitting_chars(chars=8000, tokens=8000, context_tokens=4096, budget_tokens=100_000)
    assert 0.9 * 2048 < fitting <= 2048


@STEADY
@given(tokens=st.integers(0, 10**6), context=st.integers(2, 10**6), budget=st.integers(1, 131072))
def test_a_fitting_budget_is_never_more_than_asked_nor_than_fits(
    tokens: int, context: int, budget: int
) -> None:
    fitting = fitting_budget(tokens, context, budget)
    assert 1 <= fitting <= budget
    assert fitting <= max(context - tokens, context // 2)


def test_a_budget_stays_where_the_context_is_not_known() -> None:
    assert fitting_budget(tokens=100, context_tokens=0, budget_tokens=512) == 512
