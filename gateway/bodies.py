"""Owns reading request bodies: how long one may be, and how much all that are open may hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from gateway.errors import Overloaded, RequestTooLarge

RETRY_S = 10


class Body:
    """What one request has sent so far, as a share of what all may hold."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.num_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Return the whole body; raises RequestTooLarge as soon as it is known, or Overloaded."""
        self._bodies.check_length(_declared_bytes(request))
        chunks: list[bytes] = []
        async for chunk in request.stream():
            self.num_bytes += len(chunk)
            self._bodies.add(len(chunk))
            self._bodies.check_length(self.num_bytes)
            chunks.append(chunk)
        return b"".join(chunks)


class Bodies:
    """Bounds the bytes of one request, and of all requests that are not answered yet.

    A request that is the only one is bounded by `max_bytes` alone.
    """

    def __init__(self, max_bytes: int, max_open_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_open_bytes = max(max_open_bytes, max_bytes)
        self.num_open_bytes = 0

    @contextmanager
    def open(self) -> Iterator[Body]:
        """Give a request its share, and take it back after the block."""
        body = Body(self)
        try:
            yield body
        finally:
            self.num_open_bytes -= body.num_bytes

    def add(self, num_bytes: int) -> None:
        """Count what came for one request; for bodies. Raises Overloaded."""
        self.num_open_bytes += num_bytes
        if self.num_open_bytes > self._max_open_bytes:
            raise Overloaded(
                f"open requests hold {self.num_open_bytes} bytes, "
                f"the limit MAX_OPEN_BODY_BYTES is {self._max_open_bytes}",
                retry_after_s=RETRY_S,
            )

    def check_length(self, num_bytes: int) -> None:
        """Raise RequestTooLarge for more than one request may send."""
        if num_bytes > self._max_bytes:
            limit = f"the limit MAX_BODY_BYTES of {self._max_bytes} bytes"
            raise RequestTooLarge(f"the body is over {limit}")


def _declared_bytes(request: Request) -> int:
    """What the request says of its length; 0 when it says nothing usable."""
    declared = request.headers.get("content-length", "")
    return int(declared[:20]) if declared.isdecimal() else 0
