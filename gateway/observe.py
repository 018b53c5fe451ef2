"""Owns what every request gets, whatever its route: an id, and its place in the metrics."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import REQUEST_ID, Metrics

HEADER = "X-Request-Id"
# Goes into log lines and headers as it is: nothing that could break out of either.
_USABLE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")


class Observe:
    """Sets `request.state.request_id` and the response header; counts by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        # Known from the start, so that the first is an increase to whoever looks at rates.
        for status in ("429", "500"):
            metrics.requests.labels("/predict", status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        REQUEST_ID.set(request_id)
        # A label from the client's path would let anyone grow the metrics without bound.
        route = scope["path"] if scope["path"] in self._routes else "other"

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                self._metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # A defect: the outermost layer answers it, past `send_with_id`.
            self._metrics.requests.labels(route, "500").inc()
            raise


def _given(scope: Scope) -> str:
    wanted = HEADER.lower().encode()
    for name, value in scope["headers"]:
        if name == wanted and _USABLE.match(value):
            return str(value.decode("ascii"))
    return ""
