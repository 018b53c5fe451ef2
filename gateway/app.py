"""Owns the application: routes, lifespan, the one error handler. It knows nothing of aiohttp."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import openapi, tracing
from gateway.engine import Health
from gateway.engine_state import read_engine_state
from gateway.errors import GatewayError, Overloaded, encode_error
from gateway.files import WANTED_FILES
from gateway.info import VERSION, Info, RecentErrors
from gateway.metrics import CONTENT_TYPE, OPEN_METRICS
from gateway.observe import HEADER, Observe
from gateway.predict import Predict
from gateway.service import Service
from gateway.settings import Settings
from gateway.status import Status
from gateway.status_feed import Feed, encode

_log = logging.getLogger("gateway")
_lifecycle = logging.getLogger("gateway.lifecycle")
_STOP_POLL_S = 0.1
MAX_SHOWN_PATH = 200


def create_app(
    settings: Settings,
    *,
    file_limit: int = WANTED_FILES,
    is_stopping: Callable[[], bool] = lambda: False,
    on_ready: Callable[[], None] = lambda: None,
) -> Starlette:
    """Build the application.

    `file_limit` is how many descriptors this process may have; `is_stopping` tells that the
    server was asked to shut down; `on_ready` is called when the engine is warm for the first time.
    Raises SettingsError or PolicyError for files that the settings name and that cannot be used.
    """
    service = Service(settings, file_limit)
    errors = RecentErrors()
    told = Info(settings, service.readiness, errors, service.watch)
    predict = Predict(service)
    status = Status(lambda: told.describe(service.metrics), predict)
    traces = tracing.set_up(settings)

    def note_ready() -> None:
        told.keep_start(service.metrics)
        on_ready()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        logging.getLogger().addHandler(errors)  # uvicorn's too: that is where a traceback goes
        is_serving = False
        try:
            # Around the service: its connections are traced from when they are opened.
            with traces.running:
                async with service, anyio.create_task_group() as tasks:
                    tasks.start_soon(service.readiness.run)
                    tasks.start_soon(_announce, service, note_ready)
                    tasks.start_soon(_hasten_when_stopping, service, is_stopping, status.feed)
                    if settings.hold_port_until_warm:
                        await _hold(service, is_stopping)
                    is_serving = True
                    yield
                    tasks.cancel_scope.cancel()
        except Exception:
            if is_serving:
                _end_server()
            raise
        finally:
            logging.getLogger().removeHandler(errors)

    views = _Views(service, told)
    routes = [
        Route("/", views.root),
        Route("/readyz", views.readyz),
        Route("/livez", views.livez),
        Route("/predict", predict.post, methods=["POST"]),
        Route("/metrics", views.metrics),
        Route("/info", views.info),
        Route("/openapi.json", views.openapi),
    ]
    paths = frozenset(route.path for route in routes)
    return Starlette(
        routes=[*routes, *(status.routes() if settings.status_page else [])],
        lifespan=lifespan,
        middleware=[
            Middleware(Observe, metrics=service.metrics, routes=paths | Status.paths()),
            *traces.middleware,
        ],
        exception_handlers={
            GatewayError: _show_gateway_error,
            HTTPException: _show_http_error,
            ClientDisconnect: _client_left,
            Exception: _show_crash,
        },
    )


def _end_server() -> None:
    """End a server whose own work has failed: it would go on, and tell its last phase for ever."""
    _log.exception("the gateway has a defect and ends, to be started again")
    signal.raise_signal(signal.SIGTERM)


async def _announce(service: Service, on_ready: Callable[[], None]) -> None:
    await service.readiness.wait_until_ready()
    on_ready()


async def _hold(service: Service, is_stopping: Callable[[], bool]) -> None:
    """Block, with the port still closed, until the engine is warm or the server is to stop.

    Not where the guardian's engine serves already: then the gateway alone was started again, amid
    an evaluation, and a batch that is sent again is better off waiting here than refused.
    """
    state = read_engine_state(service.settings.engine_state_file) or {}
    if state.get("phase") == "running" and await service.engine.health() is Health.UP:
        _lifecycle.info("port opened at once: the engine serves already")
        return
    _lifecycle.info("port closed until the engine is warm (HOLD_PORT_UNTIL_WARM)")
    while not service.readiness.is_ready and not is_stopping():
        with anyio.move_on_after(_STOP_POLL_S):
            await service.readiness.wait_until_ready()


async def _hasten_when_stopping(
    service: Service, is_stopping: Callable[[], bool], feed: Feed
) -> None:
    """At shutdown let the batches in flight finish inside the grace period, then cut them.

    Pages that look on are told at once to go.
    """
    # uvicorn notes a signal in an attribute, from outside the event loop: nothing to wait on.
    while not is_stopping():  # noqa: ASYNC110
        await anyio.sleep(_STOP_POLL_S)
    feed.close()
    service.fanout.hasten(anyio.current_time() + service.settings.grace_period_s)


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


class _Views:
    """The routes that answer from memory: never a call to the engine, also amid a batch."""

    def __init__(self, service: Service, info: Info) -> None:
        self._service = service
        self._info = info
        self._openapi = msgspec.json.encode(
            openapi.document(VERSION, has_status_page=service.settings.status_page)
        )

    async def root(self, request: Request) -> Response:
        return self._health("batch" if self._service.settings.batch_mode else "ok")

    async def readyz(self, request: Request) -> Response:
        return self._health("ok")

    def _health(self, word: str) -> Response:
        if self._service.readiness.is_ready:
            return _json({"status": word})
        return _json({"status": "warming"}, 503)

    async def livez(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        metrics = self._service.metrics
        metrics.tasks.set(len(asyncio.all_tasks()))
        metrics.open_prompts.set(self._service.admission.num_open)
        if "application/openmetrics-text" in request.headers.get("accept", ""):
            return Response(metrics.open_metrics(), media_type=OPEN_METRICS)
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    async def info(self, request: Request) -> Response:
        told = self._info.describe(self._service.metrics)
        return Response(encode(told), media_type="application/json")

    async def openapi(self, request: Request) -> Response:
        return Response(self._openapi, media_type="application/json")


async def _show_gateway_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, GatewayError)
    if not getattr(request.state, "is_reported", False):  # a batch has its line already
        _report(request, exc)
    response = _error(request, exc.status, exc.type, str(exc))
    if isinstance(exc, Overloaded):
        response.headers["Retry-After"] = str(exc.retry_after_s)
    return response


def _report(request: Request, exc: GatewayError) -> None:
    level = logging.WARNING if exc.status >= 500 else logging.INFO
    fields = {"request_id": request.state.request_id, "type": exc.type, "status": exc.status}
    _log.log(level, "%s", exc, extra={"fields": fields})


async def _show_http_error(request: Request, exc: Exception) -> Response:
    """Routing errors: 404 and 405."""
    assert isinstance(exc, HTTPException)
    phrase = HTTPStatus(exc.status_code).phrase
    message = f"{request.method} {request.scope['path'][:MAX_SHOWN_PATH]}: {exc.detail}"
    response = _error(request, exc.status_code, phrase.replace(" ", ""), message)
    response.headers.update(exc.headers or {})
    return response


async def _client_left(request: Request, exc: Exception) -> Response:
    """The client left while it was still sending; nobody reads this."""
    return Response(status_code=499)


async def _show_crash(request: Request, exc: Exception) -> Response:
    """A defect of the gateway: the traceback goes to the log, never into the body."""
    message = "internal error, see the gateway's log"
    response = _error(request, GatewayError.status, GatewayError.__name__, message)
    response.headers[HEADER] = request.state.request_id  # answered outside of Observe
    return response


def _error(request: Request, status: int, error_type: str, message: str) -> Response:
    body = encode_error(error_type, message, request.state.request_id)
    return Response(body, status, media_type="application/json")
