"""Owns the count of real tokens: by a tokenizer's file, or by the counters that a service shows.

Where neither is there, there is no count; nothing is estimated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec
from tokenizers import Tokenizer

from evaluator.client import Client
from evaluator.report import Speed

SCRAPE_TIMEOUT_S = 2.0
_SAMPLE = re.compile(
    r"^(?P<name>[\w:]+)(?:\{(?P<labels>.*)\})?[ \t]+(?P<value>\d+(?:\.\d*)?(?:e[+-]?\d+)?)",
    re.MULTILINE | re.IGNORECASE,
)
# The gateway's own counter, then the engine's: never both, they count the same tokens.
_COUNTERS = (
    ("evalgate_tokens_total", 'kind="completion"'),
    ("vllm:generation_tokens_total", ""),
)


class TokenizerError(ValueError):
    """A file is not a tokenizer; the message names it."""


@dataclass(frozen=True)
class Tokens:
    """How many tokens the answers have, and how that is known."""

    count: int
    source: str


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json, or the one in a model's folder; raises TokenizerError."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise TokenizerError(f"{file}: cannot be read: {exc.strerror}") from exc
    # The library raises nothing more particular.
    except Exception as exc:
        raise TokenizerError(f"{file}: is not a tokenizer.json: {exc}") from exc


def count_tokens(tokenizer: Tokenizer, answers: Sequence[str]) -> Tokens:
    """Count the tokens of all answers, without those that mark beginning and end."""
    encodings = tokenizer.encode_batch(list(answers), add_special_tokens=False)
    return Tokens(sum(len(encoding.ids) for encoding in encodings), "tokenizer")


def read_counter(metrics: str) -> tuple[str, float] | None:
    """Return name and value of the counter of generated tokens, over all its label sets."""
    for name, label in _COUNTERS:
        values = [
            float(sample["value"])
            for sample in _SAMPLE.finditer(metrics)
            if sample["name"] == name and label in (sample["labels"] or "")
        ]
        if values:
            return name, sum(values)
    return None


async def scrape(client: Client) -> tuple[str, float] | None:
    """Ask the service for its counter; None where it has none, or does not answer soon."""
    metrics = ""
    with anyio.move_on_after(SCRAPE_TIMEOUT_S):
        metrics = await client.metrics()
    return read_counter(metrics)


def difference(before: tuple[str, float] | None, after: tuple[str, float] | None) -> Tokens | None:
    """Return what a counter grew by; None when it is another one, or began anew in between."""
    if before is None or after is None or before[0] != after[0] or after[1] < before[1]:
        return None
    return Tokens(round(after[1] - before[1]), "engine metrics")


def with_tokens(speed: Speed, tokens: Tokens | None) -> Speed:
    """Return the speed with its tokens, where they are known."""
    if tokens is None:
        return speed
    per_s = tokens.count / speed.post_s if speed.post_s > 0 else 0.0
    return msgspec.structs.replace(
        speed, tokens=tokens.count, tokens_per_s=per_s, tokens_source=tokens.source
    )
