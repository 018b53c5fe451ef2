"""Owns pass@k: how likely at least one of k answers to a problem is right."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import msgspec

KS = (1, 10, 100)


class PassAtK(msgspec.Struct, frozen=True):
    """The mean over all problems."""

    k: int
    value: float


def estimate(n: int, c: int, k: int) -> float:
    """Return 1 - C(n-c, k) / C(n, k), of `n` answers `c` right: unbiased, as a product.

    Chen et al., Evaluating Large Language Models Trained on Code, arXiv:2107.03374, equation 1 and
    figure 3. Raises ValueError when k answers cannot be drawn from n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be told from {n} answers of which {c} are right")
    if n - c < k:
        return 1.0
    return 1.0 - prod(1.0 - k / number for number in range(n - c + 1, n + 1))


def means(counts: Sequence[tuple[int, int]], ks: Sequence[int] = KS) -> tuple[PassAtK, ...]:
    """Return pass@k for every k that all problems have answers enough for; of (n, c) each."""
    least = min((n for n, _ in counts), default=0)
    return tuple(
        PassAtK(k, sum(estimate(n, c, k) for n, c in counts) / len(counts))
        for k in ks
        if k <= least
    )
