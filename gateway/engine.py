"""Owns the connection to the engine: the only importer of aiohttp, whose errors it translates.

It does not decide whether a prompt is tried again, save once for a request that died on a reused
connection: the engine closes idle ones, and never read it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from types import SimpleNamespace, TracebackType
from typing import Any

import aiohttp
import msgspec

from gateway.completion import (
    Completion,
    Usage,
    cut_at_stop,
    decode_group,
    error_code,
    error_message,
)
from gateway.engine_kind import Encoder
from gateway.errors import EngineFailure, EngineLost, EngineNotReady
from gateway.refusals import translate
from gateway.sampling import Sampling
from gateway.streaming import Draft, EventReader, StreamError

CONNECT_TIMEOUT_S = 5.0
# An answer is text: what is longer than this did not come from a language model.
MAX_COMPLETION_BYTES = 64 * 1024 * 1024
# Connections beside those of the batch: health probes and token counts must not wait for it.
SPARE_CONNECTIONS = 8
# An engine's host that is gone says nothing: the kernel asks it every 5 s, after 10 s of silence,
# and gives the connection up once three of these found no answer. Linux's names; others have few.
_PROBES = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_JSON = {"Content-Type": "application/json"}
_NO_SUCH_ROUTE = (404, 405)


class Health(Enum):
    """What one look at the engine's health route found."""

    UP = "up"
    DOWN = "down"
    """Refused, reset or an error status: it does not serve."""
    UNSURE = "unsure"
    """No answer in time: busy, or hanging."""


def probed_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket for an engine's address whose prompts are not waited for on a dead host."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES:
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class Engine:
    """A client of one engine, asked as `encoder` says; an asynchronous context manager.

    `health_paths`: the first that is there tells its health.
    """

    def __init__(
        self,
        base_url: str,
        encoder: Encoder,
        *,
        max_connections: int,
        keepalive_s: float,
        health_timeout_s: float,
        api_key: str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        health_paths: Sequence[str] = ("/health",),
    ) -> None:
        self._base_url = base_url
        self._health_paths = health_paths
        self._encoder = encoder
        self._max_connections = max_connections + SPARE_CONNECTIONS
        self._keepalive_s = keepalive_s
        self._health_timeout = aiohttp.ClientTimeout(total=health_timeout_s)
        # No total: the batch's deadline bounds a completion, however long it takes.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._completions_url = base_url + encoder.path
        self._group_url = f"{base_url}/v1/chat/completions/batch"
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Engine:
        self._session = self._open(
            aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=self._keepalive_s,
                ttl_dns_cache=60,
                socket_factory=probed_socket,
            )
        )
        # Its connections are used once: a request that died on a reused one goes here.
        self._fresh = self._open(
            aiohttp.TCPConnector(
                limit=self._max_connections, force_close=True, socket_factory=probed_socket
            )
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for session in (self._session, self._fresh):
            if session is not None:
                await session.close()

    def _open(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,  # HTTP_PROXY is not meant for the engine
            read_bufsize=2**18,
            trace_configs=[_reuse_watch()],
        )

    async def complete(
        self, prompt: str, sampling: Sampling, request_id: str, draft: Draft | None = None
    ) -> Completion:
        """Return one prompt's completion; without a timeout of its own.

        `draft` follows the text as it comes, when the encoder asks for a stream. Raises
        EngineNotReady when the engine is down, EngineLost when it went down meanwhile,
        PromptTooLong, InvalidRequest for a request that it refuses, EngineFailure for any other
        answer.
        """
        body = self._encoder.encode(prompt, sampling)
        with _translating():
            async with await self._post(self._completions_url, body, request_id) as response:
                if _is_stream(response):
                    return _whole(await _read_stream(response, draft or Draft()), sampling)
                content = await _body(response)
        if response.status != 200:
            raise translate(response.status, error_message(content))
        # Streaming is off, or not known there.
        return _whole(self._encoder.decode(content, prompt, sampling), sampling)

    async def complete_group(
        self, prompts: Sequence[str], sampling: Sampling, request_id: str
    ) -> tuple[list[Completion], Usage]:
        """Return the completions of all prompts from one call, and their usage together.

        All or nothing, and never a stream. Raises what `complete` raises; EngineFailure too where
        the engine has no such route.
        """
        body = self._encoder.encode_group(prompts, sampling)
        with _translating():
            async with await self._post(self._group_url, body, request_id) as response:
                content = await _body(response)
        if response.status != 200:
            raise translate(response.status, error_message(content))
        return decode_group(content, len(prompts))

    async def _post(self, url: str, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        """Send a request; return the response once its head is there."""
        assert self._session is not None and self._fresh is not None, "use it as a context manager"
        connection = _Connection()
        try:
            return await self._session.post(
                url, data=body, headers=self._head(request_id), trace_request_ctx=connection
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
            if isinstance(exc, aiohttp.ClientConnectorError) or not connection.is_reused:
                raise
            # Most likely it was idle, and the engine closed it as the request went out: the
            # request was never read. Once more, on a connection of its own.
            try:
                return await self._fresh.post(url, data=body, headers=self._head(request_id))
            except aiohttp.ClientConnectorError:
                raise exc from None  # nobody is there any more: it went down with the request

    def _head(self, request_id: str) -> dict[str, str]:
        return {**_JSON, **self._encoder.headers(request_id)}

    async def health(self) -> Health:
        """Look at the engine's health route once; raises nothing of what an engine can do."""
        try:
            for path in self._health_paths:
                status = await self._status(path)
                if status not in _NO_SUCH_ROUTE:
                    break
            return Health.UP if status == 200 else Health.DOWN
        except asyncio.TimeoutError:  # not yet the built-in one on Python 3.10
            return Health.UNSURE
        except aiohttp.ClientError as exc:
            # Out of descriptors is a trouble of ours, and tells nothing of the engine.
            is_ours = isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE)
            return Health.UNSURE if is_ours else Health.DOWN

    async def _status(self, path: str) -> int:
        assert self._session is not None, "use it as a context manager"
        url = self._base_url + path
        async with self._session.get(url, timeout=self._health_timeout) as response:
            return response.status

    async def context_tokens(self) -> int:
        """Return the served model's context length in tokens, 0 when the engine does not tell."""
        document = await self._json("GET", "/v1/models")
        models = document.get("data") if isinstance(document, dict) else None
        first = models[0] if isinstance(models, list) and models else {}
        length = first.get("max_model_len") if isinstance(first, dict) else None
        return length if isinstance(length, int) else 0

    async def count_tokens(self, prompt: str, sampling: Sampling) -> int:
        """Return how many tokens the prompt makes with its template, 0 when it is not told."""
        body = self._encoder.encode(prompt, sampling)
        document = await self._json("POST", "/tokenize", body)
        count = document.get("count") if isinstance(document, dict) else None
        return count if isinstance(count, int) else 0

    async def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Ask a route that not every engine has; None for anything but JSON with status 200."""
        assert self._session is not None, "use it as a context manager"
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers=_JSON if body else None,
                timeout=self._health_timeout,
            ) as response:
                if response.status != 200:
                    return None
                return msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, RecursionError):
            return None


@contextmanager
def _translating() -> Iterator[None]:
    """Turn aiohttp's errors into the gateway's own."""
    try:
        yield
    except aiohttp.ClientResponseError as exc:
        raise EngineFailure(f"the engine does not speak HTTP: {_told(exc)}") from exc
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as exc:
        raise EngineNotReady(f"the engine cannot be reached: {_told(exc)}") from exc
    # aiohttp's "Connection closed.", after what came next was no part of the answer's framing.
    except (aiohttp.ClientError, RuntimeError) as exc:
        raise EngineLost(f"the engine broke the connection off: {_told(exc)}") from exc


@dataclass(slots=True)
class _Connection:
    """What one request is told about its connection."""

    is_reused: bool = False


def _reuse_watch() -> aiohttp.TraceConfig:
    """Tell each request whether its connection had been used before."""

    async def note(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceConnectionReuseconnParams,
    ) -> None:
        if isinstance(context.trace_request_ctx, _Connection):
            context.trace_request_ctx.is_reused = True

    watch = aiohttp.TraceConfig()
    watch.on_connection_reuseconn.append(note)
    return watch


def _is_stream(response: aiohttp.ClientResponse) -> bool:
    return response.status == 200 and response.content_type == "text/event-stream"


def _whole(completion: Completion, sampling: Sampling) -> Completion:
    if completion.is_broken_off:
        raise EngineLost(f"the engine broke its answer off ({completion.finish_reason})")
    if not sampling.stop:
        return completion
    return replace(completion, text=cut_at_stop(completion.text, sampling.stop))


async def _read_stream(response: aiohttp.ClientResponse, draft: Draft) -> Completion:
    reader = EventReader(draft)
    size = 0
    try:
        while data := await response.content.readany():
            size += len(data)
            _check_size(size)
            reader.feed(data)
    except StreamError as exc:
        raise translate(error_code(exc.body), error_message(exc.body)) from exc
    completion = reader.completion()
    if completion is None:
        raise EngineLost("the engine ended its answer before it was whole")
    return completion


async def _body(response: aiohttp.ClientResponse) -> bytes:
    _check_size(response.content_length or 0)
    parts: list[bytes] = []
    size = 0
    while data := await response.content.readany():
        size += len(data)
        _check_size(size)
        parts.append(data)
    return b"".join(parts)


def _check_size(size: int) -> None:
    if size > MAX_COMPLETION_BYTES:
        raise EngineFailure(f"the engine's answer has {size} bytes")


def _told(exc: BaseException) -> str:
    """Name an exception that may have no text of its own."""
    return str(exc) or type(exc).__name__
