"""What a fake engine is told to do: rules, actions and server-wide options.

Owns the vocabulary that tests write and the fake engine reads. Must not do anything with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

ContextStyle = Literal["vllm-0.10", "vllm-0.10.2", "vllm-new"]
Kind = Literal["vllm", "sglang", "vllm-mindspore", "transformers", "triton", "generate"]


@dataclass(frozen=True)
class Action:
    """What happens to a request that a rule matches."""

    name: ClassVar[str] = ""


@dataclass(frozen=True)
class Answer(Action):
    """The default answer."""

    name = "answer"


@dataclass(frozen=True)
class Delay(Action):
    """The default answer after `s` seconds, or after a random time between `s` and `to_s`.

    The engine counts as working meanwhile: its iteration counter moves.
    """

    name = "delay"
    s: float = 0.0
    to_s: float | None = None


@dataclass(frozen=True)
class Stall(Action):
    """Never answers, and the iteration counter stands still."""

    name = "stall"


@dataclass(frozen=True)
class Hold(Action):
    """The default answer once the test calls `release`."""

    name = "hold"


@dataclass(frozen=True)
class Status(Action):
    """An error answer: nested as OpenAI and newer vLLM do, flat as SGLang does, or plain text.

    `own` is in the way of the engine that the script imitates.
    """

    name = "status"
    code: int = 500
    message: str = "scripted error"
    style: Literal["nested", "flat", "raw", "own"] = "nested"
    retry_after: str | None = None


@dataclass(frozen=True)
class ContextLength(Action):
    """Refuses what does not fit the context, in the words of a vLLM release; answers what fits.

    A token is a character of any message, plus `overhead_tokens` for the chat template.
    `max_model_len` defaults to the script's.
    """

    name = "context_length"
    style: ContextStyle = "vllm-0.10"
    max_model_len: int | None = None
    overhead_tokens: int = 0
    max_chars_per_token: int = 8


@dataclass(frozen=True)
class Reset(Action):
    """RST instead of an answer, or in the middle of one."""

    name = "reset"
    when: Literal["before", "after_headers", "mid_body"] = "before"


@dataclass(frozen=True)
class Close(Action):
    """Like `Reset`, with a clean close (FIN)."""

    name = "close"
    when: Literal["before", "after_headers", "mid_body"] = "before"


@dataclass(frozen=True)
class Garbage(Action):
    """Status 200 with a body that is not JSON."""

    name = "garbage"
    body: str = "<html>not json</html>"


@dataclass(frozen=True)
class EmptyChoices(Action):
    """Status 200 with no choice in it."""

    name = "empty_choices"


@dataclass(frozen=True)
class NullContent(Action):
    """Status 200 with `content: null`."""

    name = "null_content"


@dataclass(frozen=True)
class Reasoning(Action):
    """The default answer (or `content`) with the model's thoughts in a field beside it."""

    name = "reasoning"
    thoughts: str = "let me think"
    field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    content: str | None = None


@dataclass(frozen=True)
class Text(Action):
    """A fixed content, for instance one with think blocks."""

    name = "text"
    content: str = ""


@dataclass(frozen=True)
class Trickle(Action):
    """The default answer's bytes one by one; with `unit="chunk"` its stream's events one by one."""

    name = "trickle"
    interval_s: float = 0.01
    unit: Literal["byte", "chunk"] = "byte"


@dataclass(frozen=True)
class HalfStream(Action):
    """The first `chunks` pieces of text of a stream, then the given end.

    `error` sends the error event that vLLM sends when a request fails after the 200; `abort` ends
    in good order, with the finish reason of a vLLM that is told to end. A request that did not
    ask for a stream gets half of its body, or of its text.
    """

    name = "half_stream"
    chunks: int = 2
    then: Literal["reset", "close", "stall", "error", "abort"] = "reset"


@dataclass(frozen=True)
class Exit(Action):
    """The whole engine ends at once, with its children left behind."""

    name = "exit"
    code: int = 1


@dataclass(frozen=True)
class Rule:
    """An action for chat completions whose last user message contains `match`.

    The first rule that matches applies. One with `times` is used up after so many requests; later
    rules, then the default answer, follow. `after_s` delays any action.
    """

    action: Action
    match: str = ""
    times: int | None = None
    after_s: float = 0.0


@dataclass(frozen=True)
class Script:
    """All that a fake engine does differently from answering everything at once."""

    rules: Sequence[Rule] = ()
    kind: Kind = "vllm"
    """Whose wire it speaks; `generate` is a Triton server without the OpenAI frontend."""
    model: str = ""
    """The only name accepted; empty: any name is."""
    max_model_len: int = 4096
    health: Literal["ok", "503", "stall"] = "ok"
    has_groups: bool = False
    """Whether there is the route that takes several conversations in one call."""
    startup_s: float = 0.0
    startup: Literal["503", "refused"] = "503"
    """Until `startup_s` after the start: everything is 503, or nothing listens on the port."""
    idle_close_s: float | None = None
    idle_close: Literal["close", "reset"] = "close"
    reset_on_reuse: int = 0
    """So many chat completions on a connection that was used before meet a reset."""
    close_on_reuse: int = 0
    ignore_sigterm: bool = False
    """Also for the children, when set at the start."""
    seed: int = 0
