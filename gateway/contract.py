"""Owns the `/predict` contract: parse and validate a body, encode a response; pure functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.errors import InvalidRequest, RequestTooLarge
from gateway.sampling import MAX_STOP_STRINGS, RANGES, Sampling, override

_NAMES = ("prompt", *RANGES, "stop")
_KNOWN = msgspec.json.Decoder(msgspec.defstruct("Known", [(name, Any, UNSET) for name in _NAMES]))


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
    try:
        return _request(_fields(body), defaults, max_prompts)
    except RecursionError as exc:
        # Not only from the parsers: what they just bear can be too deep to be shown.
        raise InvalidRequest("the body is not usable JSON: it is nested too deeply") from exc


def _request(fields: dict[str, Any], defaults: Sampling, max_prompts: int) -> PredictRequest:
    if "prompt" not in fields:
        raise InvalidRequest('the body has no "prompt"')
    prompts, is_batch = _prompts(fields["prompt"], max_prompts)
    return PredictRequest(
        prompts=prompts,
        is_batch=is_batch,
        sampling=override(defaults, fields),
        has_own_budget=fields.get("max_new_tokens") is not None,
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


def _fields(body: bytes) -> dict[str, Any]:
    """Decode the fields that are known; the others are not even built, however large."""
    try:
        known = _KNOWN.decode(body)
        return {name: value for name in _NAMES if (value := getattr(known, name)) is not UNSET}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # No object, broken UTF-8, lone surrogates, a byte order mark or UTF-16: the slow way.
        document = _decode_leniently(body)
    if not isinstance(document, dict):
        raise InvalidRequest(
            f'the body must be a JSON object like {{"prompt": "…"}}, got {_kind(document)}'
        )
    return {name: _without_surrogates(document[name]) for name in _NAMES if name in document}


def _decode_leniently(body: bytes) -> Any:
    try:
        return json.loads(body.decode(json.detect_encoding(body), "replace"))
    except json.JSONDecodeError as exc:
        raise InvalidRequest(
            f"the body is not JSON: {exc.msg} at line {exc.lineno} column {exc.colno}"
        ) from exc
    except ValueError as exc:  # an integer of more digits than Python converts
        raise InvalidRequest(f"the body is not usable JSON: {exc}") from exc


def _without_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which no UTF-8 body can carry on to the engine, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
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


def response_schema() -> dict[str, Any]:
    """Return the response's JSON schema."""
    answers = {
        "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "as many answers as prompts, in order",
    }
    return {"type": "object", "required": ["response"], "properties": {"response": answers}}
