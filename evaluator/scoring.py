"""Owns the scores: the evaluator's accuracy, the same over real words, its speed and its grades.

It judges values only: it sends nothing, reads nothing and knows no report file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache

from rouge_score.rouge_scorer import RougeScorer

from evaluator.report import Speed

with warnings.catch_warnings():
    # jieba 0.42.1 is from 2020: unescaped patterns (a SyntaxWarning when it is compiled) and
    # pkg_resources (a warning under setuptools 67 to 81).
    warnings.simplefilter("ignore")
    import jieba

# It tells at every start how it loads its dictionary, and with a traceback when the temporary
# folder takes no cache of it, which costs only time.
jieba.setLogLevel(logging.CRITICAL)

_GRADES = (
    (0.35, "ranked (0.35 or more)"),
    (0.28, "second grade (0.28 or more)"),
    (0.23, "third grade (0.23 or more)"),
    (0.001, "listed, below every grade (under 0.23)"),
)


def official(reference: str, prediction: str) -> float:
    """The evaluator's own accuracy of one answer: RougeL F1 by rouge_score's default tokenizer.

    That tokenizer keeps `[a-z0-9]+` of the lower-cased text: Chinese characters do not count, and
    a reference without an ASCII word scores 0 whatever the answer. Takes the text as the evaluator
    does, cut by jieba and joined by spaces (`warp32` stays one word, `C++` is `c`).
    """
    if not reference or not prediction:
        return 0.0
    return _rouge_l(_default_scorer(), " ".join(_cut(reference)), " ".join(_cut(prediction)))


def jieba_score(reference: str, prediction: str) -> float:
    """RougeL F1 over jieba's words, Chinese ones and punctuation included, white space dropped.

    Case does not count, as in the official score.
    """
    return _rouge_l(_word_scorer(), reference, prediction)


def grade(accuracy: float) -> str:
    """The band of an official accuracy, in words."""
    for least, name in _GRADES:
        if accuracy >= least:
            return name
    return "not listed (under 0.001)"


def speed(answers: Sequence[object], post_s: float) -> Speed:
    """The evaluator's speed: Σ len(str(answer)) per second of POST /predict, `post_s` in all."""
    characters = sum(len(str(answer)) for answer in answers)
    per_s = characters / post_s if post_s > 0 else 0.0
    return Speed(characters=characters, post_s=post_s, characters_per_s=per_s)


def aligned(answers: Sequence[str], n: int) -> tuple[list[str], int]:
    """`n` answers, filled up with "" or cut, and how many were too many (negative: too few)."""
    return [*answers[:n], *[""] * (n - len(answers))], len(answers) - n


class _JiebaTokenizer:
    def tokenize(self, text: str) -> list[str]:
        return [word.lower() for word in _cut(text) if not word.isspace()]


@cache
def _default_scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=False)


@cache
def _word_scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=_JiebaTokenizer())


def _rouge_l(scorer: RougeScorer, reference: str, prediction: str) -> float:
    return float(scorer.score(reference, prediction)["rougeL"].fmeasure)


@lru_cache(maxsize=8)  # Both scores cut the same two texts, and cutting is half of their time.
def _cut(text: str) -> tuple[str, ...]:
    return tuple(jieba.lcut(text))
