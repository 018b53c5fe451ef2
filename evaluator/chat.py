"""Owns the HTTP of asking one prompt: an engine's chat completions, or the gateway's /predict.

httpx's errors become one of ours, which says whether asking again can help.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec

# Statuses that say something about the prompt: trying again would change nothing.
_PROMPTS_OWN_FAULT = (400, 413, 422)


class AskFailed(Exception):
    """No answer; the message says what was observed."""

    def __init__(self, message: str, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final
        """Whether asking the same again would bring the same."""


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled; None leaves a value to the service."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    top_k: int | None = None
    seed: int | None = None
    think: bool | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Response(msgspec.Struct):
    response: str


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_T = TypeVar("_T")


class _Http:
    """A connection pool whose time limits are the callers'; an asynchronous context."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # Proxies of the environment are not for a service next door; no connection is kept, for
        # one that the server closes between two requests must not count as an error.
        self._http = httpx.AsyncClient(
            timeout=None,
            trust_env=False,
            headers=headers,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, exc, trace)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        # json, not msgspec: it also encodes the lone surrogates that a question file may hold.
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        try:
            reply = await self._http.request(
                method, f"{self.url}{path}", content=content, headers=headers
            )
        except httpx.HTTPError as exc:
            raise AskFailed(f"{type(exc).__name__}: {exc}") from exc
        if reply.status_code != 200:
            says = " ".join(reply.text[:400].split())
            is_final = reply.status_code in _PROMPTS_OWN_FAULT
            raise AskFailed(f"status {reply.status_code}: {says}", is_final)
        return reply.content


class Engine(_Http):
    """An OpenAI-compatible server."""

    def __init__(self, url: str, key: str = "", model: str = "") -> None:
        super().__init__(url.removesuffix("/").removesuffix("/v1"), key)
        self.model = model

    async def __aenter__(self) -> Engine:
        await self._http.__aenter__()
        return self

    async def find_model(self) -> str:
        """Return the model to ask for: as told, else the first that is served."""
        if not self.model:
            models = _decode(await self._ask("GET", "/v1/models"), _Models).data
            if not models:
                raise AskFailed(f"{self.url}/v1/models names no model")
            self.model = models[0].id
        return self.model

    async def ask(self, prompt: str, sampling: Sampling) -> str:
        """Return the content of one completion, without a separate field's thoughts."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            **to_openai(sampling),
        }
        choices = _decode(await self._ask("POST", "/v1/chat/completions", body), _Completion)
        if not choices.choices:
            raise AskFailed("the completion has no choices")
        return choices.choices[0].message.content or ""


class Gateway(_Http):
    """A service with POST /predict."""

    async def __aenter__(self) -> Gateway:
        await self._http.__aenter__()
        return self

    async def find_model(self) -> str:
        """There is one model, whose name nobody needs."""
        return ""

    async def ask(self, prompt: str, sampling: Sampling) -> str:
        """Return the answer; the gateway has cleaned it up already."""
        body = {"prompt": prompt, **to_predict(sampling)}
        return _decode(await self._ask("POST", "/predict", body), _Response).response


def to_openai(sampling: Sampling) -> dict[str, Any]:
    """Return the fields of a chat completion."""
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_k is not None:
        fields["top_k"] = sampling.top_k
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.think is not None:
        fields["chat_template_kwargs"] = {"enable_thinking": sampling.think}
    return fields


def to_predict(sampling: Sampling) -> dict[str, Any]:
    """Return the fields of a /predict body; it knows neither seed nor thinking."""
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_tokens,
    }
    if sampling.top_k is not None:
        fields["top_k"] = sampling.top_k
    return fields


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise AskFailed(f"not the expected reply: {exc}") from exc
