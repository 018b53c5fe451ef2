"""Owns the HTTP of the service's routes; httpx's errors become ours.

It knows no limits: whoever calls says how long it may take.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, NamedTuple, TypeVar

import httpx
import msgspec

Mode = Literal["batch", "single"]
# "ok" asks for one POST per question, "batch" for one POST with all of them.
_MODES: dict[object, Mode] = {"ok": "single", "batch": "batch"}
_ANSWERS_HEADER = "X-Evalgate-Answers"


class Sighting(NamedTuple):
    """What one `GET /` showed."""

    mode: Mode | None
    """None while the service is not healthy."""
    what: str
    """In a word or two, to be counted."""


class Answers(NamedTuple):
    """What came back for many prompts."""

    texts: list[str]
    """However many; what failed, or was not begun in time, is ""."""
    ended: Mapping[str, int]
    """How many of the prompts ended how, {"whole": 5, "partial": 2}; empty where nothing tells."""


class PredictFailed(Exception):
    """A POST /predict brought no usable answer; the message says what was observed."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """Of the reply; 0 when there was none."""


class Health(msgspec.Struct):
    """The body of `GET /`."""

    status: str


class BatchReply(msgspec.Struct):
    """The body that answers many prompts."""

    response: list[str]


class SingleReply(msgspec.Struct):
    """The body that answers one prompt."""

    response: str


def check_url(url: str) -> str:
    """Return a service's base URL; raises ValueError when it cannot be one."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url!r} is not a URL: {exc}") from exc
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"{url!r} is not http://HOST[:PORT] or https://HOST[:PORT]")
    return url


class Client:
    """A client of one service; an asynchronous context."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # Time limits are the callers'. A new connection for every request, as the evaluator's
        # own: one that the server closes between two requests must not count as an error.
        # Proxies and certificates of the environment are not for a service next door.
        self._http = httpx.AsyncClient(
            timeout=None, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def __aenter__(self) -> Client:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, exc, trace)

    async def look(self) -> Sighting:
        """Ask `GET /` how the service is; raises nothing that a service can cause."""
        try:
            reply = await self._http.get(f"{self.url}/")
        except httpx.HTTPError as exc:
            return Sighting(None, _describe(exc))
        if reply.status_code != 200:
            return Sighting(None, f"status {reply.status_code}")
        try:
            status = msgspec.json.decode(reply.content, type=Health).status
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Sighting(None, "200 without a status")
        mode = _MODES.get(status)
        return Sighting(mode, "healthy" if mode else f'status "{status[:20]}"')

    async def ask_batch(self, prompts: list[str]) -> Answers:
        """POST all prompts at once and return the answers, however many; raises PredictFailed."""
        reply = await self._post(prompts)
        texts = _parse(reply.content, BatchReply).response
        return Answers(texts, _read_counts(reply.headers.get(_ANSWERS_HEADER, "")))

    async def ask_one(self, prompt: str) -> str:
        """POST one prompt and return its answer; raises PredictFailed."""
        return _parse((await self._post(prompt)).content, SingleReply).response

    async def metrics(self) -> str:
        """Return the text of `GET /metrics`, "" where there is none."""
        try:
            reply = await self._http.get(f"{self.url}/metrics")
        except httpx.HTTPError:
            return ""
        return reply.text if reply.status_code == 200 else ""

    async def _post(self, prompt: str | list[str]) -> httpx.Response:
        # json, not msgspec: it also encodes the lone surrogates that a question file may hold.
        body = json.dumps({"prompt": prompt}).encode()
        headers = {"content-type": "application/json"}
        try:
            reply = await self._http.post(f"{self.url}/predict", content=body, headers=headers)
        except httpx.HTTPError as exc:
            raise PredictFailed(_describe(exc)) from exc
        if reply.status_code != 200:
            says = f", says {_excerpt(reply.content)}" if reply.content else ""
            raise PredictFailed(f"status {reply.status_code}{says}", reply.status_code)
        return reply


Reply = TypeVar("Reply", BatchReply, SingleReply)


def _parse(body: bytes, kind: type[Reply]) -> Reply:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        says = _excerpt(body)
        raise PredictFailed(f"the body is not the contract: {exc}; it is {says}", 200) from exc


def _read_counts(header: str) -> dict[str, int]:
    found = re.findall(r"([a-z]+)=([0-9]{1,9})(?![0-9])", header)
    return {outcome: int(count) for outcome, count in found}


def _excerpt(body: bytes, length: int = 120) -> str:
    text = " ".join(body[: length * 4].decode("utf-8", "replace").split())
    return repr(text if len(text) <= length else text[:length] + "…")


def _describe(exc: httpx.HTTPError) -> str:
    if isinstance(exc, httpx.ConnectError):
        return "unknown host" if _is_caused_by(exc, socket.gaierror) else "refused"
    if isinstance(exc, httpx.NetworkError) or _is_early_end(exc):
        return "connection cut"
    return f"not HTTP ({exc})"


def _is_early_end(exc: httpx.HTTPError) -> bool:
    # The same class as for bytes that are no HTTP at all; only h11's words tell them apart.
    is_protocol = isinstance(exc, httpx.RemoteProtocolError)
    return is_protocol and any(word in str(exc) for word in ("disconnected", "closed"))


def _is_caused_by(exc: BaseException, kind: type[BaseException]) -> bool:
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
