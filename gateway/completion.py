"""Owns the JSON of one chat completion call: the request's bytes, the response's fields.

Pure functions. What is the same for all prompts is encoded once: a request is spliced from a head
that only depends on the sampling, and from conversations that differ in the prompt alone.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.dialects import FULL, Dialect
from gateway.errors import EngineFailure
from gateway.sampling import Sampling

# Stands for the prompt in the template conversation, whose last occurrence of it is its place.
_SLOT = "\0prompt\0"
# How vLLM 0.10 to 0.32, SGLang, llama.cpp and OpenAI say that something does not fit.
_IS_CONTEXT_ERROR = re.compile(
    r"context length|maximum model length|longer than the (?:model|maximum)|"
    r"maximum allowed (?:input )?length|available context size|tokens exceed the configured limit|"
    r"max_tokens.{0,60}too large|context_length_exceeded|"
    r"max_tokens=\d+ cannot be greater than|max_tokens must be at least 1, got",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_TOKENS = re.compile(
    r"(?:(?:context length|model length|allowed (?:input )?length|context size|configured limit)"
    r"(?: is| of)?(?: only)?\s*\(?|(?:max_model_len=|max_total_tokens=)+)(\d+)",
    re.IGNORECASE,
)
# Only exact counts: vLLM says "at least N" when it stopped counting, which tells nothing.
_PROMPT_TOKENS = re.compile(
    r"\((\d+) in the messages|contains (\d+) input tokens|has (\d+) input tokens|"
    r"\(length (\d+)\)|Input length \(?(\d+)|(?:input|request) \((\d+) tokens\)|"
    r"resulted in (\d+) tokens|(\d+) tokens from the input",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine returned for one prompt; counts are tokens, 0 when it does not tell."""

    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_broken_off(self) -> bool:
        """Whether the engine ended it in good order, but not whole: vLLM that is told to stop."""
        return self.finish_reason in ("abort", "error")


class Message(msgspec.Struct):
    """A message, or in a stream what was added to it."""

    content: str | None = None
    # Where newer and older engines with a reasoning parser put the thinking.
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thinking(self) -> str | None:
        """What the model thought, under either of its names."""
        return self.reasoning or self.reasoning_content


class _Choice(msgspec.Struct):
    message: Message
    finish_reason: str | None = None
    index: int = 0


class Usage(msgspec.Struct):
    """Token counts, as engines send them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Response(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


_RESPONSE = msgspec.json.Decoder(_Response)


class RequestEncoder:
    """Encodes chat completion requests for one model, system message and thinking mode."""

    path = "/v1/chat/completions"

    def __init__(
        self,
        model: str,
        system_message: str,
        *,
        enable_thinking: bool,
        is_stream: bool = True,
        dialect: Dialect = FULL,
    ) -> None:
        self._model = model
        self._dialect = dialect
        self._enable_thinking = enable_thinking
        self._is_stream = is_stream
        self._encoder = msgspec.json.Encoder()
        messages = [{"role": "user", "content": _SLOT}]
        if system_message:
            messages.insert(0, {"role": "system", "content": system_message})
        slot = self._encoder.encode(_SLOT)
        # The last: a system message may hold what looks like the slot.
        self._before, _, self._after = self._encoder.encode(messages).rpartition(slot)
        self._heads: dict[tuple[Sampling, bool], bytes] = {}
        self._calls = itertools.count()
        self._nonce = secrets.token_hex(3)

    @property
    def dialect(self) -> Dialect:
        """How the engine is told of the sampling."""
        return self._dialect

    def headers(self, request_id: str) -> dict[str, str]:
        """Return what goes with a request beside its type; no two calls have the same id.

        vLLM before 0.14 takes the id for its own, and refuses a second call of that id while the
        first is under way, or is not yet known to be over.
        """
        if not self._dialect.has_request_ids:
            return {}
        return {"X-Request-Id": f"{request_id}-{self._nonce}{next(self._calls):x}"}

    def speak(self, dialect: Dialect) -> None:
        """Change the dialect from the next request on."""
        self._dialect = dialect
        self._heads.clear()

    def decode(self, body: bytes, prompt: str, sampling: Sampling) -> Completion:
        """Decode the answer to a request that was no stream; see the function of that name."""
        return decode(body)

    def encode(self, prompt: str, sampling: Sampling) -> bytes:
        """Encode one request (JSON, UTF-8)."""
        content = self._encoder.encode(prompt)
        head = self._head(sampling, self._is_stream)
        return b"".join((head, self._before, content, self._after, b"}"))

    def encode_group(self, prompts: Sequence[str], sampling: Sampling) -> bytes:
        """Encode one request for a conversation per prompt; it cannot be streamed."""
        contents = map(self._encoder.encode, prompts)
        conversations = b"".join((self._after, b",", self._before)).join(contents)
        head = self._head(sampling, False)
        return b"".join((head, b"[", self._before, conversations, self._after, b"]}"))

    def _head(self, sampling: Sampling, is_stream: bool) -> bytes:
        """Return the request as far as its messages."""
        key = (sampling, is_stream)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) > 256:  # sampling comes from clients: keep the memory bounded
                self._heads.clear()
            fields = self._encoder.encode(self._fields(sampling, is_stream))
            head = self._heads[key] = fields.removesuffix(b"}") + b',"messages":'
        return head

    def _fields(self, sampling: Sampling, is_stream: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self._model,
            **self._dialect.fields(sampling, self._enable_thinking),
        }
        if is_stream:
            fields["stream"] = True
            fields["stream_options"] = {"include_usage": True}
        return fields


def decode(body: bytes) -> Completion:
    """Decode a chat completion; reasoning fields beside the content are left out.

    A budget that ended inside the thinking leaves no content: then the reasoning is the text, as
    an unclosed think block is where the engine does not part the two.
    Raises EngineFailure when the body is not a completion, so that no garbage becomes an answer.
    """
    response = _decode(body)
    if not response.choices:
        raise EngineFailure("the engine's answer holds no choices")
    return _completion(response.choices[0], response.usage or Usage())


def decode_group(body: bytes, count: int) -> tuple[list[Completion], Usage]:
    """Decode `count` completions of one call, in the order of its conversations.

    The usage is of all together. Raises EngineFailure when there is not one choice for each.
    """
    response = _decode(body)
    if [choice.index for choice in response.choices] != list(range(count)):
        raise EngineFailure("the engine's answer does not hold one choice for each conversation")
    return [_completion(choice, Usage()) for choice in response.choices], response.usage or Usage()


def _decode(body: bytes) -> _Response:
    try:
        return _RESPONSE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise EngineFailure(f"the engine's answer is not a chat completion: {exc}") from exc


def _completion(choice: _Choice, usage: Usage) -> Completion:
    message = choice.message
    text = message.content or message.thinking or message.content
    if text is None:
        raise EngineFailure("the engine's answer has null content")
    return Completion(
        text=text,
        finish_reason=choice.finish_reason or "",
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
    )


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string, for engines that do not know them all."""
    ends = [end for string in stop if (end := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text


def error_code(body: bytes) -> int:
    """Return the status that the error event of a stream tells, 500 when it tells none."""
    detail = _error_detail(body)
    code = detail.get("code") if isinstance(detail, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def error_message(body: bytes) -> str:
    """Return the message of an engine's error body: OpenAI's nested, SGLang's flat, or raw text."""
    detail = _error_detail(body)
    if isinstance(detail, dict):
        detail = detail.get("message") or detail.get("detail") or detail
    return str(detail)[:600]


def _error_detail(body: bytes) -> Any:
    """Return what an error body holds: under "error" where it is nested, the text if no JSON."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:300].decode("utf-8", "replace").strip()
    return (document.get("error") or document) if isinstance(document, dict) else document


def context_excess(message: str) -> tuple[int, int] | None:
    """Read an engine's "does not fit" message as (context tokens, prompt tokens).

    A count that it does not tell is 0; None when the message is about something else.
    """
    if not _IS_CONTEXT_ERROR.search(message):
        return None
    context = _CONTEXT_TOKENS.search(message)
    prompt = _PROMPT_TOKENS.search(message)
    prompt_tokens = next((int(group) for group in prompt.groups() if group), 0) if prompt else 0
    return (int(context.group(1)) if context else 0), prompt_tokens
