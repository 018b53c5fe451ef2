"""Owns taking note that a client has left."""

from __future__ import annotations

import anyio
from starlette.types import Receive


async def cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel a scope once the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
