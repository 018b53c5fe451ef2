"""Owns what a prompt may cost and what becomes of its completion: budget rules and clean-up.

Pure functions over a policy that is read once from TOML; no other I/O.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.sampling import RANGES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_THINK_TAG = re.compile(r"</?think>")
# What chat models print when the engine does not stop at, or skips the decoding of, their marker.
_END_MARKERS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "</s>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)
_SENTENCE_END = re.compile(r"[。！？!?]+[”’」』）)\"']*|\.(?=\s|\Z)|\n+")
_FENCE = "```"


class PolicyError(ValueError):
    """The policy file cannot be used; the message names the file and the key."""


class AnswerRules(BaseModel):
    """How an answer is cut; a rule may set these for its own prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_sentences: int = Field(0, ge=0, description="keep this many sentences; 0 keeps all")
    cut_examples: bool = Field(False, description="drop an answer's examples")
    example_markers: tuple[str, ...] = ("例如", "比如", "举例")


class Rule(BaseModel):
    """The budget, and optionally the cuts, of the prompts that it matches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    keywords: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()
    max_new_tokens: int | None = Field(None, ge=1, le=int(RANGES["max_new_tokens"].high))
    answer: AnswerRules | None = None

    @field_validator("keywords")
    @classmethod
    def _fold_case(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        if "" in keywords:
            raise ValueError("an empty keyword would match every prompt")
        return tuple(keyword.casefold() for keyword in keywords)

    @model_validator(mode="after")
    def _has_matcher(self) -> Rule:
        if not self.keywords and not self.patterns:
            raise ValueError("a rule needs keywords or patterns: it would match no prompt")
        return self

    def matches(self, prompt: str) -> bool:
        """Tell whether any keyword (whatever its case) or any pattern is found in the prompt."""
        folded = prompt.casefold()
        return any(keyword in folded for keyword in self.keywords) or any(
            pattern.search(prompt) for pattern in self.patterns
        )


class Policy(BaseModel):
    """Rules in order, the first match decides; without a match, the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: AnswerRules = AnswerRules()
    rules: tuple[Rule, ...] = ()

    def rule_for(self, prompt: str) -> Rule | None:
        """Return the first rule that matches the prompt."""
        return next((rule for rule in self.rules if rule.matches(prompt)), None)


def load_policy(path: Path | None) -> Policy:
    """Read a policy file; None is the default policy: one budget for all, nothing cut.

    Raises PolicyError.
    """
    if path is None:
        return Policy()
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return Policy.model_validate(document)
    except OSError as exc:
        raise PolicyError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PolicyError(f"{path}: {key}: {first['msg']}") from exc
    except ValueError as exc:  # broken TOML or broken UTF-8
        raise PolicyError(f"{path}: is not TOML: {exc}") from exc


def clean(completion: str, rules: AnswerRules) -> str:
    """Turn a completion's text into an answer: thinking and end markers out, then the cuts."""
    answer = strip_end_markers(strip_thinking(completion))
    if rules.cut_examples:
        answer = cut_examples(answer, rules.example_markers)
    if rules.max_sentences:
        answer = keep_sentences(answer, rules.max_sentences)
    return answer


def strip_thinking(text: str) -> str:
    """Remove `<think>` blocks, also one never closed, or closed without having been opened.

    A template may put the opening tag into the prompt, so that the completion starts inside the
    block. When nothing else is left, what was inside is the answer: better than none.
    """
    if "<think>" not in text and "</think>" not in text:
        return text
    *closed, last = text.split("</think>")
    kept: list[str] = []
    for part in closed:
        before, opening, _ = part.partition("<think>")
        if opening:
            kept.append(before)
        else:
            kept.clear()
    outside = "".join(kept) + last.partition("<think>")[0]
    if strip_end_markers(outside):
        return outside
    return _THINK_TAG.sub("", text)


def strip_end_markers(text: str) -> str:
    """Remove end-of-turn markers at the end, and surrounding space."""
    # Not a regular expression: over a long run of space inside the text it takes quadratic time.
    end = len(text)
    while end:
        if text[end - 1].isspace():
            end -= 1
        elif text.endswith(_END_MARKERS, 0, end):
            end = text.rindex("<", 0, end)
        else:
            break
    return text[:end].lstrip()


def cut_examples(text: str, markers: tuple[str, ...]) -> str:
    """Drop everything from the first example marker on, unless nothing would be left."""
    found = [at for at in (text.find(marker) for marker in markers) if at > 0]
    if not found:
        return text
    kept = text[: min(found)].rstrip(" \t\n，,、：:；;（(")
    if not kept:
        return text
    return kept if kept[-1] in "。！？!?.…" else kept + "。"


def keep_sentences(text: str, limit: int) -> str:
    """Keep the first `limit` sentences; a code block that has begun is kept to its end."""
    count = fences = seen = start = 0
    for match in _SENTENCE_END.finditer(text):
        fences += text.count(_FENCE, seen, match.end())
        seen = match.end()
        if fences % 2:  # inside a code block, where a full stop ends nothing
            continue
        words = text[start : match.start()].strip()
        if not words:  # an empty line, or the end of a line after a full stop
            continue
        if match[0] == "." and words.isdecimal():  # the number of a list's item
            continue
        count += 1
        if count == limit:
            return text[: match.end()].rstrip()
        start = match.end()
    return text
