"""How the engines differ on the wire, as far as a client sees it: routes, fields, words, bodies.

From their sources: SGLang 0.5.23 (entrypoints/openai), transformers 5.19 (cli/serving), Triton's
OpenAI frontend and generate extension (2026-08). Pure values and functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes import answers
from tests.fakes.answers import Completion, Refusal

_OPENAI = frozenset(
    {
        *("messages", "model", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("frequency_penalty", "presence_penalty", "n", "seed", "stop", "stream"),
        *("stream_options", "logprobs", "top_logprobs", "tools", "user", "response_format"),
    }
)
# From a request, its prompt's size and the limit in tokens to a refusal, None when it fits.
Limit = Callable[[dict[str, Any], int, int], Refusal | None]


def _fastapi(status: int, detail: object) -> Refusal:
    return Refusal(status, json.dumps({"detail": detail}).encode())


def _nested(status: int, message: str) -> Refusal:
    return answers.refuse(status, message)


def _flat(status: int, message: str) -> Refusal:
    return answers.refuse(status, message, "flat")


def _plain_error(status: int, message: str) -> Refusal:
    return Refusal(status, json.dumps({"error": message}).encode())


def _sglang_limit(body: dict[str, Any], size: int, limit: int) -> Refusal | None:
    wanted = answers.requested_tokens(body) or 0
    if size >= limit:
        return _flat(
            400,
            f"The input ({size} tokens) is longer than the model's context length "
            f"({limit} tokens).",
        )
    if size + wanted > limit:
        return _flat(
            400,
            f"Requested token count exceeds the model's maximum context length of {limit} tokens. "
            f"You requested a total of {size + wanted} tokens: {size} tokens from the input "
            f"messages and {wanted} tokens for the completion. Please reduce the number of tokens "
            "in the input messages or the completion to fit within the limit.",
        )
    return None


def _triton_limit(body: dict[str, Any], size: int, limit: int) -> Refusal | None:
    """vLLM's words inside, which the frontend answers with 500."""
    if size <= limit:
        return None
    words = f"The decoder prompt (length {size}) is longer than the maximum model length of {limit}"
    return _fastapi(500, f"{words}. Make sure that `max_model_len` is no smaller.")


def _generate_limit(body: dict[str, Any], size: int, limit: int) -> Refusal | None:
    if size <= limit:
        return None
    words = f"The decoder prompt (length {size}) is longer than the maximum model length of {limit}"
    return _plain_error(500, f"Error generating stream: {words}.")


def _never(body: dict[str, Any], size: int, limit: int) -> Refusal | None:
    return None


def _refuse_by_transformers(unknown: list[str]) -> Refusal:
    return _fastapi(422, f"Unexpected fields in the request: {set(unknown)}")


def _refuse_by_pydantic(unknown: list[str]) -> Refusal:
    errors = [
        {
            "type": "extra_forbidden",
            "loc": ["body", name],
            "msg": "Extra inputs are not permitted",
            "input": 0,
        }
        for name in unknown
    ]
    return _fastapi(422, errors)


@dataclass(frozen=True)
class KindOfEngine:
    """One engine's wire."""

    health_path: str = "/health"
    refuse: Callable[[int, str], Refusal] = _nested
    # What it takes; None: whatever it does not know, it ignores.
    fields: frozenset[str] | None = None
    refuse_fields: Callable[[list[str]], Refusal] = _refuse_by_pydantic
    limit: Limit = _never
    # Whether /v1/models lists the served model with its context length.
    lists_models: bool = True
    has_chat: bool = True
    # A stream's last event with a choice holds the usage, and no [DONE] follows.
    ends_with_usage: bool = False


KINDS = {
    "vllm": KindOfEngine(),
    "vllm-mindspore": KindOfEngine(),
    "sglang": KindOfEngine(refuse=_flat, limit=_sglang_limit),
    "transformers": KindOfEngine(
        refuse=_fastapi,
        fields=_OPENAI | {"chat_template_kwargs", "generation_config"},
        refuse_fields=_refuse_by_transformers,
        lists_models=False,
        ends_with_usage=True,
    ),
    "triton": KindOfEngine(
        health_path="/health/ready",
        refuse=_fastapi,
        fields=_OPENAI | {"ignore_eos", "min_tokens", "logit_bias"},
        limit=_triton_limit,
        lists_models=False,
    ),
    "generate": KindOfEngine(
        health_path="/v2/health/ready",
        refuse=_plain_error,
        limit=_generate_limit,
        lists_models=False,
        has_chat=False,
    ),
}


def unknown_fields(kind: KindOfEngine, body: dict[str, Any]) -> list[str]:
    """Return the fields of a request that the engine refuses it for."""
    return [] if kind.fields is None else sorted(set(body) - kind.fields)


def generate_body(model: str, given: str, completion: Completion, *, has_echo: bool) -> bytes:
    """Return the answer of the generate extension; by default vLLM's backend echoes the prompt."""
    text = (given if has_echo else "") + (completion.content or "")
    fields = {"model_name": model, "model_version": "1", "text_output": text}
    return json.dumps(fields, ensure_ascii=False).encode()
