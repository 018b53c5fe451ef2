"""Owns what can be learnt from the engine's port: is it free, and is what listens there healthy.

It keeps no connection and knows no proxy.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

import anyio
from anyio.abc import ByteStream

from launcher.errors import CannotStart

# Busy engines answer late; while one starts, a late answer is as good as none.
PROBE_TIMEOUT_S = 2.0
# vLLM's metrics are some 100 kB.
MAX_BODY_BYTES = 16_000_000
_POLL_S = 0.1


async def is_healthy(base_url: str, path: str, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Tell whether `path` answers 200 within `timeout_s`; any failure is a no."""
    return await ask_status(base_url, path, timeout_s) == 200


async def ask_status(
    base_url: str, path: str, timeout_s: float, headers: Mapping[str, str] | None = None
) -> int | None:
    """Return the status that `path` answers with; None when it does not answer in time."""
    return await _wait_for_status(base_url, _request("GET", base_url, path, headers), timeout_s)


async def post(
    base_url: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> int | None:
    """Send `body` and return the status of the answer; None when none comes in time."""
    lengths = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    request = _request("POST", base_url, path, {**lengths, **headers}) + body
    return await _wait_for_status(base_url, request, timeout_s)


async def fetch_text(base_url: str, path: str, timeout_s: float) -> tuple[int | None, str]:
    """Return the status and the body of `path`; None and nothing when they do not come in time."""
    request = _request("GET", base_url, path)
    answer = await _ask(base_url, request, timeout_s, lambda answer: len(answer) > MAX_BODY_BYTES)
    head, _, body = (answer or b"").partition(b"\r\n\r\n")
    return _status(head), body.decode(errors="replace")


async def _wait_for_status(base_url: str, request: bytes, timeout_s: float) -> int | None:
    answer = await _ask(base_url, request, timeout_s, lambda answer: b"\r\n" in answer)
    return _status(answer) if answer is not None and b"\r\n" in answer else None


def _request(
    method: str, base_url: str, path: str, headers: Mapping[str, str] | None = None
) -> bytes:
    url = urlsplit(base_url)
    # 1.0: the answer ends with the connection, and is not cut into chunks.
    lines = [f"{method} {url.path.rstrip('/')}{path} HTTP/1.0"]
    lines.append(f"Host: {url.netloc.rpartition('@')[2]}")
    lines += [
        f"{name}: {value}" for name, value in {"Connection": "close", **(headers or {})}.items()
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def _ask(
    base_url: str, request: bytes, timeout_s: float, is_enough: Callable[[bytes], bool]
) -> bytes | None:
    """Send one request and read until enough, or the end; None when that fails or lasts longer."""
    url = urlsplit(base_url)
    answer = b""
    try:
        with anyio.fail_after(timeout_s):
            async with await _connect(url) as stream:
                await stream.send(request)
                while not is_enough(answer):
                    answer += await stream.receive(65536)
    except anyio.EndOfStream:
        return answer
    except (OSError, TimeoutError, anyio.BrokenResourceError):  # ssl's errors are OSErrors
        return None
    return answer


async def _connect(url: SplitResult) -> ByteStream:
    host, is_tls = url.hostname or "", url.scheme == "https"
    if is_tls:
        # Many servers close without the closing word; what was read counts.
        return await anyio.connect_tcp(
            host, url.port or 443, tls=True, tls_standard_compatible=False
        )
    return await anyio.connect_tcp(host, url.port or 80)


def _status(head: bytes) -> int | None:
    words = head.split(None, 2)
    is_http = len(words) > 1 and words[0].startswith(b"HTTP/1.") and len(words[1]) == 3
    return int(words[1]) if is_http and words[1].isdigit() else None


async def wait_until_free(host: str, port: int, timeout_s: float) -> None:
    """Wait until an engine could listen there; raises CannotStart when it cannot.

    An engine that was killed a moment ago may hold its port a little longer; and some versions of
    vLLM would share the port with another program, silently.
    """
    deadline = anyio.current_time() + timeout_s
    while (error := _bind_error(host, port)) is not None:
        if error.errno != errno.EADDRINUSE:
            raise CannotStart(f"ENGINE_HOST={host} ENGINE_PORT={port}: {error.strerror}")
        if anyio.current_time() >= deadline:
            raise CannotStart(f"ENGINE_PORT={port}: another program listens there")
        await anyio.sleep(_POLL_S)


def _bind_error(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Past connections in TIME_WAIT are no obstacle to an engine either.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            return exc
    return None
