"""The bodies that a fake engine sends: completions, streams, errors, in the shapes of real ones.

Pure functions from a request's JSON to bytes. Must not know sockets or scripts' rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.script import ContextLength

PIECE = re.compile(r"\S{1,4}\s*|\s+")


@dataclass(frozen=True)
class Completion:
    """A chat completion before it takes the form of a body or of a stream."""

    model: str
    content: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    extra: dict[str, str]


@dataclass(frozen=True)
class Refusal:
    """An error answer."""

    status: int
    body: bytes
    content_type: str = "application/json"


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def text_of(content: object) -> str:
    """Return a message's text, given as a string or as a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def last_user_message(body: dict[str, Any]) -> str:
    """Return the text of the last message of the user, or an empty string."""
    messages = body.get("messages") or []
    texts = [text_of(item.get("content")) for item in messages if item.get("role") == "user"]
    return texts[-1] if texts else ""


def prompt_text(body: dict[str, Any]) -> str:
    """Return the text of all messages, or of `prompt` as /tokenize also takes it."""
    messages = body.get("messages") or []
    return str(body.get("prompt", "")) + "".join(text_of(item.get("content")) for item in messages)


def requested_tokens(body: dict[str, Any]) -> int | None:
    """Return the limit of new tokens, under either of its names."""
    value = body.get("max_completion_tokens")
    return body.get("max_tokens") if value is None else value


def complete(body: dict[str, Any], content: str, extra: dict[str, str] | None = None) -> Completion:
    """Return `content` as the answer to a request, cut to its limit of words."""
    words = content.split()
    limit = requested_tokens(body)
    is_cut = limit is not None and len(words) > limit
    if is_cut:
        words = words[:limit]
        content = " ".join(words)
    return Completion(
        model=str(body.get("model", "")),
        content=content,
        finish_reason="length" if is_cut else "stop",
        prompt_tokens=len(prompt_text(body).split()),
        completion_tokens=len(words),
        extra=extra or {},
    )


def default_completion(body: dict[str, Any]) -> Completion:
    """Return the answer that a request gets when no rule is about it."""
    return complete(body, "answer to: " + last_user_message(body))


def _usage(completion: Completion) -> dict[str, int]:
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.prompt_tokens + completion.completion_tokens,
    }


def _envelope(completion: Completion, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 0, "model": completion.model}


def body_of(completion: Completion, *, has_choices: bool = True) -> bytes:
    """Return the answer to a request that did not ask for a stream."""
    choices = [_choice(0, completion)] if has_choices else []
    envelope = _envelope(completion, "chat.completion")
    return _encode({**envelope, "choices": choices, "usage": _usage(completion)})


def group_body_of(completions: Sequence[Completion]) -> bytes:
    """Return the answer to a call that held several conversations."""
    choices = [_choice(index, each) for index, each in enumerate(completions)]
    usages = [_usage(each) for each in completions]
    usage = {name: sum(each[name] for each in usages) for name in (usages[0] if usages else {})}
    kind = {"id": "chatcmpl-fake", "object": "chat.completion", "created": 0, "model": ""}
    return _encode({**kind, "choices": choices, "usage": usage})


def _choice(index: int, completion: Completion) -> dict[str, Any]:
    message = {"role": "assistant", "content": completion.content, **completion.extra}
    return {"index": index, "message": message, "finish_reason": completion.finish_reason}


def event(value: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + _encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def pieces(content: str) -> list[str]:
    """Cut a text as a stream does; joined, the pieces are the text again."""
    return PIECE.findall(content)


def events_of(
    completion: Completion,
    *,
    has_usage: bool,
    has_choices: bool = True,
    ends_with_usage: bool = False,
) -> list[bytes]:
    """Return a stream's events: the role, the pieces of text, the finish, the usage, the end.

    `ends_with_usage`: the finish has the usage, asked for or not, and nothing follows it.
    """
    envelope = _envelope(completion, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return event({**envelope, "choices": [choice] if has_choices else []})

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({name: text}) for name, text in completion.extra.items()]
    events += [chunk({"content": piece}) for piece in pieces(completion.content or "")]
    if ends_with_usage:
        last = {"index": 0, "delta": {}, "finish_reason": completion.finish_reason}
        return [*events, event({**envelope, "choices": [last], "usage": _usage(completion)})]
    events.append(chunk({}, completion.finish_reason))
    if has_usage:
        events.append(event({**envelope, "choices": [], "usage": _usage(completion)}))
    return [*events, DONE]


def wants_usage(body: dict[str, Any]) -> bool:
    """Tell whether a stream shall end with its usage."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


_TYPES = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}


def error_fields(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """Return an error as vLLM describes it."""
    kind = _TYPES.get(status, "Error")
    return {"message": message, "type": kind, "param": param, "code": status}


def refuse(status: int, message: str, style: str = "nested", param: str | None = None) -> Refusal:
    """Return an error answer: `nested`, `flat` or `raw`."""
    if style == "raw":
        return Refusal(status, message.encode(), "text/plain")
    fields = error_fields(status, message, param)
    is_flat = style == "flat"
    return Refusal(status, _encode({"object": "error", **fields} if is_flat else {"error": fields}))


def context_refusal(body: dict[str, Any], action: ContextLength, limit: int) -> Refusal | None:
    """Return what a vLLM with a context of `limit` says to a request, None when it fits."""
    text = prompt_text(body)
    size = len(text) + action.overhead_tokens
    wanted = requested_tokens(body)
    if action.style == "vllm-0.10":
        return _refusal_0_10(size, wanted, limit)
    if action.style == "vllm-0.10.2":
        return _refusal_0_10_2(size, wanted, limit)
    return _refusal_new(size, wanted, limit, limit * action.max_chars_per_token)


def _refusal_0_10(size: int, wanted: int | None, limit: int) -> Refusal | None:
    """vLLM up to 0.10.0: a flat body; "None" is the cause that it appends to every message."""
    start = f"This model's maximum context length is {limit} tokens. However, you requested"
    if wanted is None and size >= limit:
        end = f"{size} tokens in the messages, Please reduce the length of the messages. None"
    elif wanted is not None and size + wanted > limit:
        end = (
            f"{size + wanted} tokens ({size} in the messages, {wanted} in the completion). "
            "Please reduce the length of the messages or completion. None"
        )
    else:
        return None
    return refuse(400, f"{start} {end}", "flat")


def _refusal_0_10_2(size: int, wanted: int | None, limit: int) -> Refusal | None:
    """vLLM 0.10.1 to about 0.15."""
    if size >= limit:
        message = (
            f"This model's maximum context length is {limit} tokens. However, your request has "
            f"{size} input tokens. Please reduce the length of the input messages. None"
        )
    elif wanted is not None and size + wanted > limit:
        message = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's "
            f"maximum context length is {limit} tokens and your request has {size} input tokens "
            f"({wanted} > {limit} - {size}). None"
        )
    else:
        return None
    return refuse(400, message)


def _refusal_new(size: int, wanted: int | None, limit: int, max_chars: int) -> Refusal | None:
    """vLLM 0.32: it stops counting at one token over, and shortens a completion by itself."""
    start = f"This model's maximum context length is {limit} tokens. However, your prompt contains"
    end = "Please reduce the length of the input prompt."
    if wanted is not None and wanted > limit:
        message = (
            f"max_tokens={wanted} cannot be greater than max_model_len={limit}. "
            "Please request fewer output tokens."
        )
        param, value = "max_tokens", wanted
    elif size > max_chars:
        message = (
            f"{start} {size} characters (more than {max_chars} characters, which is the upper "
            f"bound for {limit} input tokens). {end}"
        )
        param, value = "input_text", size
    elif size > limit:
        message = (
            f"{start} at least {limit + 1} input tokens, which exceeds this limit even without "
            f"any output tokens. {end}"
        )
        param, value = "input_tokens", limit + 1
    elif size == limit:
        message, param, value = "max_tokens must be at least 1, got 0.", "max_tokens", 0
    else:
        return None
    return refuse(400, f"{message} (parameter={param}, value={value})", param=param)
