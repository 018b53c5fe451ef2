"""Owns what can be learnt from the engine's port: is it free, and is what listens there healthy.

It keeps no connection and knows no proxy.
"""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

import anyio

from launcher.errors import CannotStart

# Busy engines answer late; while one starts, a late answer is as good as none.
PROBE_TIMEOUT_S = 2.0
_POLL_S = 0.1


async def is_healthy(base_url: str, path: str, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Tell whether `path` answers 200 within `timeout_s`; any failure is a no."""
    url = urlsplit(base_url)
    request = f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with anyio.fail_after(timeout_s):
            async with await anyio.connect_tcp(url.hostname or "", url.port or 80) as stream:
                await stream.send(request.encode())
                while b"\r\n" not in answer:
                    answer += await stream.receive(1024)
    except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False
    return answer.split(None, 2)[1:2] == [b"200"]


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
