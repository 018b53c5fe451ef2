"""Owns the JSON of Triton's generate extension, as a chat engine's encoder does for chats. Pure.

Such a server applies no chat template, may put the prompt before its answer, and knows neither the
engine's usage nor why an answer ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.completion import Completion
from gateway.errors import EngineFailure
from gateway.sampling import Sampling

# What a backend that decodes its input again leaves out of it.
_SPECIAL = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>")


class _Response(msgspec.Struct):
    # A list where the model's output is one of several.
    text_output: str | list[str]


_RESPONSE = msgspec.json.Decoder(_Response)


class GenerateEncoder:
    """Encodes requests for one model; `render` makes the whole text that the model is given."""

    def __init__(self, model: str, render: Callable[[str], str]) -> None:
        self.path = f"/v2/models/{quote(model, safe='')}/generate"
        self._render = render
        self._encoder = msgspec.json.Encoder()

    def headers(self, request_id: str) -> dict[str, str]:
        """Return what goes with a request beside its type."""
        return {}

    def encode(self, prompt: str, sampling: Sampling) -> bytes:
        """Encode one request (JSON, UTF-8)."""
        return self._encoder.encode({"text_input": self._render(prompt), **_parameters(sampling)})

    def encode_group(self, prompts: Sequence[str], sampling: Sampling) -> bytes:
        """Raise EngineFailure: it takes one prompt per call."""
        raise EngineFailure("the generate extension takes one prompt per call", can_pass=False)

    def decode(self, body: bytes, prompt: str, sampling: Sampling) -> Completion:
        """Decode an answer; raises EngineFailure when it is none."""
        try:
            output = _RESPONSE.decode(body).text_output
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise EngineFailure(f"the engine's answer has no text_output: {exc}") from exc
        text = output if isinstance(output, str) else "".join(output[:1])
        # Its backends take stop strings in different forms, so that none is sent: the client cuts.
        return Completion(without_echo(text, self._render(prompt)), "")


def without_echo(text: str, given: str) -> str:
    """Return what comes after the prompt where the engine puts that before its answer."""
    for echo in (given, _SPECIAL.sub("", given)):
        if echo and text.startswith(echo):
            return text[len(echo) :]
    return text


def _parameters(sampling: Sampling) -> dict[str, Any]:
    """Return what vLLM's and TensorRT-LLM's backends both know; what is off is left out.

    Greedy is a choice among one: a temperature of 0 is an error to some of them.
    """
    fields: dict[str, Any] = {"max_tokens": sampling.max_new_tokens, "stream": False}
    if sampling.temperature == 0:
        fields["top_k"] = 1
    else:
        fields["temperature"] = sampling.temperature
        if sampling.top_k > 0:
            fields["top_k"] = sampling.top_k
        if sampling.top_p < 1:
            fields["top_p"] = sampling.top_p
    if sampling.repetition_penalty != 1:
        fields["repetition_penalty"] = sampling.repetition_penalty
    if sampling.frequency_penalty != 0:
        fields["frequency_penalty"] = sampling.frequency_penalty
    return fields
