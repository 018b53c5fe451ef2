"""Owns the leak check: which questions stand, word for word or nearly, in a training set.

It compares values; reading the two files is questions.py's.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from evaluator.report import Question

NEAR = 0.6
"""Similarity from which two questions count as nearly the same: `什么是warp？` and
`请问什么是warp？谢谢` have 0.6, `什么是张量核心？` and `什么是张量并行？` 0.5."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A question and the training question that is most like it."""

    id: str
    question: str
    training_question: str
    similarity: float
    """Shared pairs of neighbouring characters over all of them (Jaccard), in [0, 1]."""


class LeakReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a training set gives away of a question set."""

    questions: int
    training_questions: int
    exact: tuple[Match, ...]
    """The same but for white space, character width, case and punctuation; in the set's order."""
    near: tuple[Match, ...]
    """The others that are similar enough, most similar first."""

    @property
    def leaked(self) -> int:
        """Questions that the training set holds, exactly or nearly."""
        return len(self.exact) + len(self.near)


def leak_check(
    questions: Sequence[Question], training_questions: Sequence[Question], threshold: float = NEAR
) -> LeakReport:
    """Find each of `questions` in the training set; `threshold` in (0, 1] is that of `near`."""
    normal = [_normalised(entry.question) for entry in questions]
    training: dict[str, str] = {}
    for entry in training_questions:
        training.setdefault(_normalised(entry.question), entry.question)
    index = _Index(training, frozenset(pair for text in normal for pair in _pairs(text)))
    exact, near = [], []
    for entry, text in zip(questions, normal, strict=True):
        if text in training:
            exact.append(_match(entry, training[text], 1.0))
        elif found := index.nearest(text, threshold):
            near.append(_match(entry, training[found[0]], found[1]))
    near.sort(key=lambda match: -match.similarity)
    return LeakReport(
        questions=len(questions),
        training_questions=len(training_questions),
        exact=tuple(exact),
        near=tuple(near),
    )


class _Index:
    """Training texts by the pairs of characters that any of the questions has."""

    def __init__(self, texts: Iterable[str], wanted: frozenset[str]) -> None:
        self._texts = list(texts)
        self._sizes: list[int] = []
        self._holders: defaultdict[str, set[int]] = defaultdict(set)
        for number, text in enumerate(self._texts):
            pairs = _pairs(text)
            self._sizes.append(len(pairs))
            for pair in pairs & wanted:
                self._holders[pair].add(number)

    def nearest(self, text: str, threshold: float) -> tuple[str, float] | None:
        """The most similar text and its similarity; None below the threshold."""
        pairs = _pairs(text)
        best, best_similarity = -1, 0.0
        for number in sorted(self._candidates(pairs, threshold)):
            shared = sum(number in self._holders[pair] for pair in pairs)
            similarity = shared / (len(pairs) + self._sizes[number] - shared)
            if similarity > best_similarity:
                best, best_similarity = number, similarity
        return (self._texts[best], best_similarity) if best_similarity >= threshold else None

    def _candidates(self, pairs: frozenset[str], threshold: float) -> set[int]:
        # A text as similar as that shares at least `least` pairs, so it holds one of any
        # `len - least + 1` of them: the rarest are enough, and few texts hold those.
        least = max(1, math.ceil(threshold * len(pairs) - 1e-9))
        holders = sorted((self._holders.get(pair, set()) for pair in pairs), key=len)
        return set().union(*holders[: len(pairs) - least + 1])


def _match(entry: Question, training_question: str, similarity: float) -> Match:
    return Match(
        id=entry.id,
        question=entry.question,
        training_question=training_question,
        similarity=similarity,
    )


def _normalised(text: str) -> str:
    """The letters and digits alone, in one width and case; the text itself if it has none."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum()) or folded.strip()


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 2] for i in range(len(text) - 1)) or frozenset((text,))
