from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completion import Completion
from gateway.errors import EngineFailure
from gateway.streaming import MAX_EVENT_BYTES, Draft, EventReader, StreamError

DONE = b"data: [DONE]\n\n"


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


STREAM = b"".join(
    [
        event({"role": "assistant", "content": ""}),
        b": a comment, to keep the connection alive\n\n",
        event({"content": "线程"}),
        event({"content": "束 🚀"}),
        event({}, "stop"),
        event(usage={"prompt_tokens": 7, "completion_tokens": 3}),
        DONE,
    ]
)


def read(*parts: bytes) -> tuple[Completion | None, Draft]:
    draft = Draft()
    reader = EventReader(draft)
    for part in parts:
        reader.feed(part)
    return reader.completion(), draft


def test_a_stream_is_a_completion() -> None:
    completion, draft = read(STREAM)
    assert completion == Completion("线程束 🚀", "stop", 7, 3)
    assert draft.text == "线程束 🚀"


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_it_may_be_cut_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    completion, _ = read(*(STREAM[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)))
    assert completion == Completion("线程束 🚀", "stop", 7, 3)


@given(st.integers(0, len(STREAM)))
def test_the_draft_only_ever_grows(length: int) -> None:
    draft = Draft()
    reader = EventReader(draft)
    seen = ""
    for position in range(length):
        reader.feed(STREAM[position : position + 1])
        assert draft.text.startswith(seen)
        seen = draft.text
    assert "线程束 🚀".startswith(seen)


def test_lines_may_end_as_in_a_letter() -> None:
    completion, _ = read(STREAM.replace(b"\n", b"\r\n"))
    assert completion is not None
    assert completion.text == "线程束 🚀"


def test_a_stream_that_stops_short_is_none() -> None:
    completion, draft = read(event({"content": "half"}))
    assert completion is None
    assert draft.text == "half"


@pytest.mark.parametrize("end", [DONE, event({}, "length")])
def test_either_end_will_do(end: bytes) -> None:
    completion, _ = read(event({"content": "x"}), end)
    assert completion is not None
    assert completion.text == "x"


def test_an_empty_answer_is_one() -> None:
    completion, _ = read(event({"content": None}), event({}, "stop"), DONE)
    assert completion == Completion("", "stop")


def test_a_stream_without_a_choice_is_a_failure() -> None:
    with pytest.raises(EngineFailure, match="no choices"):
        read(event(), DONE)


@pytest.mark.parametrize(
    "data", [b"<html>", b"[]", b"5", b'{"choices": [{}]}', b"[" * 100_000, b'{"choices": "\xff"}']
)
def test_garbage_is_a_failure(data: bytes) -> None:
    with pytest.raises(EngineFailure, match="not a chat completion"):
        read(b"data: " + data + b"\n\n")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "EngineCore encountered an issue", "code": 500}}',
        b'{"object": "error", "message": "bad", "code": 400, "choices": []}',
    ],
)
def test_an_error_event_is_told_with_its_bytes(body: bytes) -> None:
    with pytest.raises(StreamError) as raised:
        read(event({"content": "x"}), b"data: " + body + b"\n\n")
    assert raised.value.body == body


def test_an_event_without_an_end_is_bounded() -> None:
    reader = EventReader(Draft())
    with pytest.raises(EngineFailure, match="an event of over"):
        for _ in range(MAX_EVENT_BYTES // 2**20 + 1):
            reader.feed(b"x" * 2**20)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_is_the_text_only_while_there_is_no_other(name: str) -> None:
    thinking = event({name: "hm"})
    assert read(thinking)[1].text == "hm"
    completion, draft = read(thinking, event({"content": "so"}), event({}, "stop"))
    assert (draft.text, completion and completion.text) == ("so", "so")


def test_a_new_attempt_starts_anew_and_the_longer_text_counts() -> None:
    draft = Draft()
    EventReader(draft).feed(event({"content": "quite far"}))
    second = EventReader(draft)
    second.feed(event({"content": "less"}))
    assert draft.text == "quite far"
    second.feed(event({"content": " but then further"}, "stop"))
    assert draft.text == "less but then further"
    completion = second.completion()
    assert completion is not None
    assert completion.text == "less but then further"


def test_a_whole_attempt_counts_though_an_earlier_one_was_longer() -> None:
    draft = Draft()
    EventReader(draft).feed(event({"content": "a long way round"}))
    second = EventReader(draft)
    second.feed(event({"content": "short"}, "stop"))
    completion = second.completion()
    assert completion is not None
    assert completion.text == "short"


def test_the_beginning_of_an_answer_is_further_than_any_thinking() -> None:
    draft = Draft()
    draft.begin()
    draft.add(None, "long thoughts " * 100)
    draft.begin()
    draft.add("An answer", None)
    assert draft.text == "An answer"
    draft.begin()
    draft.add(None, "thoughts again, of some length")
    assert draft.text == "An answer"
