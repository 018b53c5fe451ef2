from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.humaneval.pass_at_k import PassAtK, estimate, means


@given(
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
)
def test_estimate_is_the_share_of_draws_that_hold_a_right_answer(
    counts: tuple[int, int, int],
) -> None:
    n, c, k = counts
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert estimate(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_estimate_is_stable_for_many_answers() -> None:
    assert estimate(200, 1, 100) == pytest.approx(0.5)
    assert estimate(100_000, 1, 1) == pytest.approx(1e-5)


@pytest.mark.parametrize("counts", [(1, 1, 2), (1, 2, 1), (1, -1, 1), (2, 1, 0)])
def test_what_cannot_be_told_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        estimate(*counts)


def test_means_only_where_every_problem_has_answers_enough() -> None:
    assert means([(2, 1), (3, 3)], (1, 2, 3)) == (PassAtK(1, 0.75), PassAtK(2, 1.0))
    assert means([]) == ()
