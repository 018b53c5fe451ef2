"""Owns what engines differ in when they are asked for a chat: which fields they take. Pure.

What one does not take is left out: most refuse a request for a field that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.sampling import Sampling

# From sampling, and whether the model may think, to the fields of a request.
Fields = Callable[[Sampling, bool], dict[str, Any]]


@dataclass(frozen=True)
class Dialect:
    """How an engine wants to be told of the sampling."""

    name: str
    fields: Fields
    # The settings that it has no field for.
    without: tuple[str, ...] = ()
    # Whether it may be told our ids: `transformers serve` takes two calls with one for the same.
    has_request_ids: bool = True


def _standard(sampling: Sampling, enable_thinking: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        # Always: what is left out would be 16 with Triton, 1,024 with transformers.
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
    }
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return fields


def _full(sampling: Sampling, enable_thinking: bool) -> dict[str, Any]:
    return {
        **_standard(sampling, enable_thinking),
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "chat_template_kwargs": {"enable_thinking": enable_thinking},
    }


def _transformers(sampling: Sampling, enable_thinking: bool) -> dict[str, Any]:
    """Its `frequency_penalty` is, plus one, the repetition penalty of everybody else."""
    return {
        **_standard(sampling, enable_thinking),
        "frequency_penalty": sampling.repetition_penalty - 1,
        "chat_template_kwargs": {"enable_thinking": enable_thinking},
    }


# vLLM, vllm-mindspore and SGLang.
FULL = Dialect("full", _full)
# OpenAI's own fields: Triton's frontend refuses any other.
STANDARD = Dialect(
    "standard",
    _standard,
    ("TOP_K", "REPETITION_PENALTY", "ENABLE_THINKING"),
    has_request_ids=False,
)
TRANSFORMERS = Dialect(
    "transformers", _transformers, ("TOP_K", "FREQUENCY_PENALTY"), has_request_ids=False
)
_OF_ENGINES: Mapping[str, Dialect] = {"transformers": TRANSFORMERS, "triton": STANDARD}


def dialect_of(engine: str) -> Dialect:
    """Return the dialect of an engine, named as ENGINE names it."""
    return _OF_ENGINES.get(engine, FULL)


def narrower(dialect: Dialect) -> Dialect | None:
    """Return the dialect to try after a refusal; None when there is none left."""
    return STANDARD if dialect is FULL else None
