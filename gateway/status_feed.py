"""Owns the live feed of the status page: server-sent events with what has changed since the last.

Without a listener nothing runs: each one waits by itself, and the first to wake looks for all.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.disconnect import cancel_when_gone

INTERVAL_S = 1.0
# Pages that nobody closed must not add up; those beyond ask for /info now and then.
MAX_LISTENERS = 16
# Where the browser's own attempt to connect again begins.
_RETRY = b"retry: 2000\n\n"


class Feed:
    """What listeners get: sections of one JSON object, each as often as it changes."""

    def __init__(
        self, describe: Callable[[], Mapping[str, Any]], interval_s: float = INTERVAL_S
    ) -> None:
        self._describe = describe
        self._interval_s = interval_s
        self._values: Mapping[str, Any] = {}
        self._sections: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._looked_at = float("-inf")
        self._closed = asyncio.Event()
        self.num_listeners = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another listener."""
        return self.num_listeners >= MAX_LISTENERS or self._closed.is_set()

    def close(self) -> None:
        """End all streams, and open no more: a shutdown."""
        self._closed.set()

    async def wait(self) -> bool:
        """Wait for the next event; False when there will be none."""
        with anyio.move_on_after(self._interval_s):
            await self._closed.wait()
        return not self._closed.is_set()

    def event(self, since: int) -> tuple[int, bytes]:
        """Return the version that is current, and the event that leads there from an older one.

        From version 0 it holds everything.
        """
        self._look()
        parts = [
            json.dumps(name).encode() + b":" + body
            for name, body in self._sections.items()
            if self._versions[name] > since
        ]
        return self._version, b"data: {" + b",".join(parts) + b"}\n\n"

    def _look(self) -> None:
        """See what has changed, unless another listener did so a moment ago."""
        now = time.monotonic()
        if now - self._looked_at < self._interval_s * 0.9:
            return
        self._looked_at = now
        self._version += 1
        before, self._values = self._values, self._describe()
        for name, value in self._values.items():
            if name in before and before[name] is value:
                continue  # settings and the engine's state: large, and seldom another
            body = encode(value)
            if self._sections.get(name) != body:
                self._sections[name] = body
                self._versions[name] = self._version


def encode(value: Any) -> bytes:
    """Encode as JSON on one line; what UTF-8 cannot hold, as an engine's log may, becomes "?"."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class EventStream(Response):
    """One listener's stream, until it leaves or the feed ends."""

    def __init__(self, feed: Feed) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(None, headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self._feed.num_listeners += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_when_gone, receive, tasks.cancel_scope)
                await self._send_events(send)
                tasks.cancel_scope.cancel()
        finally:
            self._feed.num_listeners -= 1

    async def _send_events(self, send: Send) -> None:
        version, event = self._feed.event(0)
        await send({"type": "http.response.body", "body": _RETRY + event, "more_body": True})
        while await self._feed.wait():
            version, event = self._feed.event(version)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
