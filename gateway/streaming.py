"""Owns a completion as it is being written: the text so far, read from server-sent events.

No I/O: it is fed the bytes as they come, cut anywhere.
"""

from __future__ import annotations

import msgspec

from gateway.completion import Completion, Message, Usage
from gateway.errors import EngineFailure

_DONE = b"[DONE]"
# One event holds the text of a few tokens: what is longer is no stream of a language model.
MAX_EVENT_BYTES = 16 * 1024 * 1024


class Draft:
    """What was written of one prompt's answer; the attempt that came furthest counts.

    The beginning of an answer is further than any length of thinking.
    """

    __slots__ = ("_content", "_earlier", "_has_earlier_content", "_reasoning")

    def __init__(self) -> None:
        self._earlier = ""
        self._has_earlier_content = False
        self._content: list[str] = []
        self._reasoning: list[str] = []

    @property
    def text(self) -> str:
        """The text so far."""
        current = self._current()
        earlier = (self._has_earlier_content, len(self._earlier))
        return current if (bool(self._content), len(current)) >= earlier else self._earlier

    def begin(self) -> None:
        """Start a new attempt; what an earlier one wrote is kept beside it."""
        self._earlier = self.text
        self._has_earlier_content = self._has_earlier_content or bool(self._content)
        self._content, self._reasoning = [], []

    def add(self, content: str | None, reasoning: str | None) -> None:
        """Add what one event brought."""
        if content:
            self._content.append(content)
        elif reasoning:
            self._reasoning.append(reasoning)

    def _current(self) -> str:
        # Nothing but thinking yet: that is the text, as an unclosed think block is elsewhere.
        return "".join(self._content) or "".join(self._reasoning)

    def finish(self, finish_reason: str, usage: Usage) -> Completion:
        """Return this attempt as a whole completion."""
        return Completion(
            text=self._current(),
            finish_reason=finish_reason,
            prompt_tokens=usage.prompt_tokens or 0,
            completion_tokens=usage.completion_tokens or 0,
        )


class _Choice(msgspec.Struct):
    delta: Message
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    object: str | None = None


_EVENT = msgspec.json.Decoder(_Event)


class StreamError(Exception):
    """The engine broke a stream off with an error event; holds that event's bytes."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body = body


class EventReader:
    """Reads the events of one completion into a draft."""

    __slots__ = ("_draft", "_finish_reason", "_has_choices", "_is_done", "_rest", "_usage")

    def __init__(self, draft: Draft) -> None:
        draft.begin()
        self._draft = draft
        self._rest = b""
        self._usage = Usage()
        self._finish_reason = ""
        self._has_choices = False
        self._is_done = False

    def feed(self, data: bytes) -> None:
        """Read what has come; raises StreamError for an error event, EngineFailure for garbage."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EngineFailure(f"the engine sent an event of over {MAX_EVENT_BYTES} bytes")
        for line in lines:
            # Comments, which keep a connection alive, and other fields say nothing of the text.
            if line.startswith(b"data:"):
                self._read(line[5:].strip())

    def completion(self) -> Completion | None:
        """Return the completion once its end was seen; None when the stream stopped short of it.

        Raises EngineFailure when it has ended without ever holding a choice.
        """
        if not self._finish_reason and not self._is_done:
            return None
        if not self._has_choices:
            raise EngineFailure("the engine's answer holds no choices")
        return self._draft.finish(self._finish_reason, self._usage)

    def _read(self, data: bytes) -> None:
        if data == _DONE:
            self._is_done = True
            return
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise EngineFailure(f"the engine's answer is not a chat completion: {exc}") from exc
        if event.choices is None or event.object == "error":
            raise StreamError(data)
        self._usage = event.usage or self._usage
        for choice in event.choices[:1]:
            self._has_choices = True
            delta = choice.delta
            self._draft.add(delta.content, delta.thinking)
            self._finish_reason = choice.finish_reason or self._finish_reason
