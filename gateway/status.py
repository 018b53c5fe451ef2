"""Owns the routes of the status page: the page, its live feed, and the box to try prompts in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from gateway import status_page
from gateway.errors import Overloaded
from gateway.predict import Predict
from gateway.status_feed import EventStream, Feed, encode
from gateway.status_trial import TRIAL, Trial

PATH = "/status"
# For whoever finds all places taken.
_RETRY_S = 10


class Status:
    """The endpoints below `/status`."""

    def __init__(self, describe: Callable[[], Mapping[str, Any]], predict: Predict) -> None:
        self.feed = Feed(describe)
        self._predict = predict
        self._page = status_page.load()

    def routes(self) -> list[BaseRoute]:
        """Return the routes; the page's own are no part of the described contract."""
        inner = [
            Route("/events", self.events),
            Route("/try", self.attempt, methods=["POST"]),
        ]
        return [Route(PATH, self.page), Mount(PATH, routes=inner)]

    @staticmethod
    def paths() -> frozenset[str]:
        """Return the paths that requests are counted by."""
        return frozenset({PATH, f"{PATH}/events", f"{PATH}/try"})

    async def page(self, request: Request) -> Response:
        """Show the page."""
        return Response(self._page.body, headers=self._page.headers, media_type="text/html")

    async def events(self, request: Request) -> Response:
        """Stream what changes; raises Overloaded when too many look already."""
        if self.feed.is_full:
            raise Overloaded(
                f"{self.feed.num_listeners} pages are open already", retry_after_s=_RETRY_S
            )
        return EventStream(self.feed)

    async def attempt(self, request: Request) -> Response:
        """Answer as /predict does, with its limits, and tell besides what the engine wrote."""
        trial = Trial()
        token = TRIAL.set(trial)
        try:
            response = await self._predict.post(request)
        finally:
            TRIAL.reset(token)
        if response.status_code != 200:  # its client has left
            return response
        answers = msgspec.json.decode(response.body)["response"]
        told = {"answers": _answers(answers, trial), "seconds": trial.elapsed_s()}
        return Response(encode(told), media_type="application/json")


def _answers(answers: str | list[str], trial: Trial) -> list[dict[str, Any]]:
    each = [answers] if isinstance(answers, str) else answers
    return [
        {"answer": answer, "exchange": trial.exchanges.get(index)}
        for index, answer in enumerate(each)
    ]
