"""Owns which words of a reference and an answer differ. Pure: it knows nothing of HTML.

The words are jieba's, so what is marked is what the jieba score counts. It must not score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby, takewhile

import msgspec

from evaluator.words import words

MAX_EXACT_PAIRS = 200_000
"""Above so many pairs of equal words, words that are everywhere stop to anchor a match.

An answer that says one thing a thousand times makes difflib's exact search cubic: minutes.
"""


class Piece(msgspec.Struct, frozen=True):
    """A stretch of one text that stands in the other text too, or does not."""

    text: str
    is_same: bool


Marked = tuple[Piece, ...]


def differences(reference: str, answer: str) -> tuple[Marked, Marked]:
    """Return both texts cut into pieces; the joined pieces are the texts, unchanged.

    Upper and lower case do not differ, as in the scores.
    """
    a, b = words(reference), words(answer)
    blocks = list(_blocks([word.lower() for word in a], [word.lower() for word in b]))
    return (
        _pieces(a, ((i, n) for i, _, n in blocks)),
        _pieces(b, ((j, n) for _, j, n in blocks)),
    )


def _blocks(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (place in a, place in b, length) of what is in both, in order."""
    start = _common_start(a, b)
    end = _common_start(a[start:][::-1], b[start:][::-1])
    yield 0, 0, start
    a_middle, b_middle = a[start : len(a) - end], b[start : len(b) - end]
    matcher = SequenceMatcher(None, a_middle, b_middle, autojunk=_is_repetitive(a_middle, b_middle))
    for i, j, size in matcher.get_matching_blocks():
        yield start + i, start + j, size
    yield len(a) - end, len(b) - end, end


def _common_start(a: Sequence[str], b: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _is_repetitive(a: Sequence[str], b: Sequence[str]) -> bool:
    in_b = Counter(b)
    return sum(in_b[word] for word in a) > MAX_EXACT_PAIRS


def _pieces(tokens: Sequence[str], same: Iterable[tuple[int, int]]) -> Marked:
    """Join runs of equal and of different tokens; blanks between two differences differ too."""
    is_same = [False] * len(tokens)
    for start, size in same:
        is_same[start : start + size] = [True] * size
    runs = [
        Piece("".join(token for token, _ in run), flag)
        for flag, run in groupby(zip(tokens, is_same, strict=True), key=lambda pair: pair[1])
    ]
    joined = [
        (piece.text, piece.is_same and not (_is_between(runs, at) and not piece.text.strip()))
        for at, piece in enumerate(runs)
    ]
    return tuple(
        Piece("".join(text for text, _ in run), flag)
        for flag, run in groupby(joined, key=lambda pair: pair[1])
    )


def _is_between(runs: Sequence[Piece], at: int) -> bool:
    return 0 < at < len(runs) - 1
