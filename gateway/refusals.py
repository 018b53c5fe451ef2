"""Owns what an engine's refusal means: its error status and message as one of the gateway's errors.

Pure functions.
"""

from __future__ import annotations

from gateway.completion import context_excess
from gateway.errors import (
    EngineBusy,
    EngineFailure,
    EngineLost,
    GatewayError,
    InvalidRequest,
    PromptTooLong,
)

# It, or a router before it, takes no prompt at the moment.
_BUSY_STATUSES = frozenset({429, 502, 503, 504})
# vLLM says so, with a 500, while it lets those that it has begun with finish.
_SHUTTING_DOWN = ("cannot schedule new futures", "shutting down")
# Two requests at the same tokenizer, in some of vLLM's versions: told as a 400.
_ACCIDENTS = ("Already borrowed",)
_DEAD_ENGINE = ("EngineDeadError", "EngineCore encountered an issue", "engine is dead")


def translate(status: int, message: str) -> GatewayError:
    """Turn an engine's error status and message into the gateway's own error."""
    excess = _excess(status, message)
    if excess is not None:
        return PromptTooLong(
            f"the engine refused the prompt: {message}",
            context_tokens=excess[0],
            prompt_tokens=excess[1],
        )
    told = f"the engine answered {status}: {message}"
    if _has(message, _DEAD_ENGINE):
        return EngineLost(told)
    if status in _BUSY_STATUSES or (status >= 500 and _has(message, _SHUTTING_DOWN)):
        return EngineBusy(told)
    if _has(message, _ACCIDENTS):
        return EngineFailure(told, can_pass=True)
    if status in (400, 413, 422):
        return InvalidRequest(f"the engine refused the prompt: {message}")
    # A wrong key or model name does not pass.
    return EngineFailure(told, can_pass=status >= 500)


def _has(message: str, signs: tuple[str, ...]) -> bool:
    return any(sign.lower() in message.lower() for sign in signs)


def _excess(status: int, message: str) -> tuple[int, int] | None:
    """Read what does not fit; Triton's frontend answers 500 to what its engine refuses."""
    if status in (400, 413, 422):
        return context_excess(message)
    excess = context_excess(message) if status == 500 else None
    # Words alone may be of anything: only what counts the prompt is about the prompt.
    return excess if excess is not None and all(excess) else None
