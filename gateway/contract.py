"""Owns the `/predict` contract: parse and validate a body, encode a response; pure functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import InvalidRequest, RequestTooLarge
from gateway.sampling import MAX_STOP_STRINGS, RANGES, Sampling, override


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One `/predict` request: its prompts in order, and how they are to be sampled."""

    prompts: list[str]
    is_batch: bool
    sampling: Sampling
    has_own_budget: bool
    """True when the request names max_new_tokens itself: no policy rule overrules it."""


def parse(body: bytes, defaults: Sampling, max_prompts: int) -> PredictRequest:
    """Parse a body of any content type into a PredictRequest.

    Raises InvalidRequest naming the field or the index of the prompt, RequestTooLarge for a
    batch of more than `max_prompts`.
    """
    document = _decode(body)
    if not isinstance(document, dict):
        raise InvalidRequest(
            f'the body must be a JSON object like {{"prompt": "…"}}, got {_kind(document)}'
        )
    if "prompt" not in document:
        raise InvalidRequest('the body has no "prompt"')
    prompts, is_batch = _prompts(document["prompt"], max_prompts)
    return PredictRequest(
        prompts=prompts,
        is_batch=is_batch,
        sampling=override(defaults, document),
        has_own_budget=document.get("max_new_tokens") is not None,
    )


def encode(answers: list[str], is_batch: bool) -> bytes:
    """Encode answers as `{"response": …}`: a list for a batch, else the one answer."""
    return msgspec.json.encode({"response": answers if is_batch else answers[0]})


def _prompts(value: object, max_prompts: int) -> tuple[list[str], bool]:
    if isinstance(value, str):
        return [value], False
    if not isinstance(value, list):
        raise InvalidRequest(f"prompt must be a string or a list of strings, got {_kind(value)}")
    if len(value) > max_prompts:
        raise RequestTooLarge(
            f"the batch holds {len(value)} prompts, the limit MAX_BATCH_PROMPTS is {max_prompts}"
        )
    for index, prompt in enumerate(value):
        if not isinstance(prompt, str):
            raise InvalidRequest(f"prompt[{index}] must be a string, got {_kind(prompt)}")
    return value, True


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Broken UTF-8, lone surrogates, a byte order mark or UTF-16: the slow, forgiving way.
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    try:
        encoding = json.detect_encoding(body)
        text = body.decode(encoding, "replace")
        return _without_surrogates(json.loads(text))
    except json.JSONDecodeError as exc:
        raise InvalidRequest(
            f"the body is not JSON: {exc.msg} at line {exc.lineno} column {exc.colno}"
        ) from exc
    except RecursionError as exc:
        raise InvalidRequest("the body is not usable JSON: it is nested too deeply") from exc
    except ValueError as exc:  # an integer of more digits than Python converts
        raise InvalidRequest(f"the body is not usable JSON: {exc}") from exc


def _without_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which no UTF-8 body can carry on to the engine, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(v) for key, v in value.items()}
    return value


def _kind(value: object) -> str:
    """Name a JSON value's type in JSON's words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value)) or ("a list" if isinstance(value, list) else "an object")


def schema() -> dict[str, Any]:
    """Return the request's JSON schema, with the ranges that `parse` enforces."""
    properties: dict[str, Any] = {
        "prompt": {
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "description": "one question, or all of them",
        },
        "stop": {
            "oneOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "maxItems": MAX_STOP_STRINGS,
                },
                {"type": "null"},
            ],
        },
    }
    for name, limits in RANGES.items():
        low = "exclusiveMinimum" if limits.is_low_open else "minimum"
        properties[name] = {
            "type": ["integer" if limits.is_integer else "number", "null"],
            low: limits.low,
            "maximum": limits.high,
        }
    return {"type": "object", "required": ["prompt"], "properties": properties}
