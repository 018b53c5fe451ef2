"""Owns the errors a client can see, and how one becomes a JSON body; knows no route.

GatewayError          500
├── InvalidRequest    400
│   └── PromptTooLong 400   the engine's context cannot hold it
├── RequestTimeout    408
├── RequestTooLarge   413
├── Overloaded        429
├── EngineFailure     502
├── EngineNotReady    503   it did not take the prompt
│   ├── EngineBusy    503   it said so: there is somebody
│   └── EngineLost    503   it went down with the prompt, which may be why
└── EngineTimeout     504
"""

from __future__ import annotations

import msgspec


class GatewayError(Exception):
    """Base of all errors that a client can see; the message is safe to show."""

    status = 500

    @property
    def type(self) -> str:
        """The error's name in a response body and in a metric label."""
        return type(self).__name__


class InvalidRequest(GatewayError):
    """The request breaks the contract; sent again unchanged it fails again."""

    status = 400


class PromptTooLong(InvalidRequest):
    """Prompt and budget together exceed the engine's context; counts are tokens, 0 when unsaid."""

    def __init__(self, message: str, *, context_tokens: int = 0, prompt_tokens: int = 0) -> None:
        super().__init__(message)
        self.context_tokens = context_tokens
        self.prompt_tokens = prompt_tokens


class RequestTimeout(GatewayError):
    """The body did not come in time."""

    status = 408


class RequestTooLarge(GatewayError):
    """Body or batch is over its limit."""

    status = 413


class Overloaded(GatewayError):
    """More work is waiting than the gateway accepts; worth another try later."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineFailure(GatewayError):
    """The engine answered, with something that is not a completion."""

    status = 502

    def __init__(self, message: str, *, can_pass: bool = True) -> None:
        super().__init__(message)
        self.can_pass = can_pass
        """Whether the same call, made again, may succeed."""


class EngineNotReady(GatewayError):
    """The engine does not take prompts: not up yet, restarting, dead or overrun."""

    status = 503


class EngineBusy(EngineNotReady):
    """The engine, or a router before it, answered that it takes no prompt at the moment."""


class EngineLost(EngineNotReady):
    """The engine, or the connection to it, went down with the prompt under way."""


class EngineTimeout(GatewayError):
    """The deadline came before any answer."""

    status = 504


def encode_error(error_type: str, message: str, request_id: str = "") -> bytes:
    """Encode `{"error": {"type", "message", "request_id"}}`, the body of every error."""
    detail = {"type": error_type, "message": message}
    if request_id:
        detail["request_id"] = request_id
    return msgspec.json.encode({"error": detail})
