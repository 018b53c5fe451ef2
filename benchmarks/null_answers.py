"""Owns what the null engine answers, as vLLM writes it: pure text, no process.

32 tokens of Chinese; the stream comes in pieces of 16 tokens, the launcher's STREAM_INTERVAL.
"""

from __future__ import annotations

import json

MODEL = "evalgate"
PIECES = (
    "线程束是同一流式多处理器上锁步执行的三十二个线程，",
    "它们在同一时刻执行同一条指令，分支发散时各条路径依次执行。",
)
ANSWER = "".join(PIECES)
_USAGE = {"prompt_tokens": 24, "total_tokens": 56, "completion_tokens": 32}


def completion() -> str:
    """Return the whole chat completion."""
    return _json(_envelope("chat.completion", [_choice(0)]) | {"usage": _USAGE})


def _choice(index: int) -> dict[str, object]:
    message = {"role": "assistant", "content": ANSWER, "tool_calls": []}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "length"}


def events() -> str:
    """Return the same completion as server-sent events."""
    first, last = PIECES
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": first}, None),
        ({"content": last}, "length"),
    ]
    kind = "chat.completion.chunk"
    chunks = [
        _envelope(kind, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])
        for delta, reason in deltas
    ]
    chunks.append(_envelope(kind, []) | {"usage": _USAGE})
    return "".join(f"data: {text}\n\n" for text in [*map(_json, chunks), "[DONE]"])


def models() -> str:
    """Return the list of models."""
    model = {"id": MODEL, "object": "model", "created": 1763700000, "max_model_len": 32768}
    return _json({"object": "list", "data": [model]})


def version() -> str:
    """Return the version."""
    return _json({"version": "null"})


def _envelope(kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
    return {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": kind,
        "created": 1763700000,
        "model": MODEL,
        "choices": choices,
    }


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


# A group of conversations gets as many choices. In a body without spaces, as the gateway writes
# it, this string cannot come from inside a prompt: its quotes would be escaped there.
MARK = '"role":"user"'
MAX_GROUP = 256
PREFIX, _, _rest = completion().partition('[{"index":0')
CHOICE, _, SUFFIX = _rest.partition("}]")

LUA_TABLE = f"""
    answers = {{}}
    local choices = {{}}
    for index = 0, {MAX_GROUP} - 1 do
        choices[index + 1] = '{{"index":' .. index .. [==[{CHOICE}}}]==]
        answers[index + 1] = [==[{PREFIX}[]==] .. table.concat(choices, ',') .. [==[]{SUFFIX}]==]
    end"""
LUA_ANSWER = f"""
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if not body then return ngx.exit(413) end
    local count, place = 0, 0
    while true do
        place = string.find(body, '{MARK}', place + 1, true)
        if not place then break end
        count = count + 1
    end
    local answer = answers[count]
    if not answer then return ngx.exit(400) end
    ngx.header.content_length = #answer
    ngx.print(answer)"""
