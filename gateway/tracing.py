"""Owns OpenTelemetry: spans of requests and of the calls to the engine, sent to a collector.

By opentelemetry's own instrumentation. Without OTEL_EXPORTER_OTLP_ENDPOINT nothing is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from gateway.settings import Settings

_log = logging.getLogger("gateway.lifecycle")
# An evaluator asks for the others twice a second; they tell nothing that metrics do not.
TRACED_PATHS = frozenset({"/predict", "/status/try"})
SERVICE_NAME = "evalgate"
_DEFAULTS = {
    "OTEL_SERVICE_NAME": SERVICE_NAME,
    # The engine's health is looked at twice a second.
    "OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS": r"/health(/ready)?$",
    # A batch of the evaluator's ends its spans at about the same time: none of them is dropped.
    "OTEL_BSP_MAX_QUEUE_SIZE": "16384",
}


@dataclass(frozen=True)
class Tracing:
    """What an application needs for traces: a layer, and what has to be open around it all."""

    middleware: list[Middleware] = field(default_factory=list)
    running: AbstractContextManager[None] = field(default_factory=nullcontext)


def set_up(settings: Settings, environ: MutableMapping[str, str] = os.environ) -> Tracing:
    """Return what traces need; nothing when none are asked for, or the packages are missing."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if not endpoint:
        return Tracing()
    for name, value in _DEFAULTS.items():
        environ.setdefault(name, value)
    try:
        provider = _provider(endpoint)
        layer = Middleware(_Traced, provider=provider)
        return Tracing([layer], _instrumented(provider))
    except ImportError as exc:
        _log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and there are no traces: %s is not installed "
            "(pip install -r requirements/tracing.txt)",
            exc.name,
        )
        return Tracing()


def _provider(endpoint: str) -> TracerProvider:
    # Only to find out now whether they are there.
    import opentelemetry.instrumentation.aiohttp_client
    import opentelemetry.instrumentation.asgi  # noqa: F401
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@contextmanager
def _instrumented(provider: TracerProvider) -> Iterator[None]:
    """Trace what aiohttp sends, the traceparent header with it; at the end send what is left."""
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()
        provider.shutdown()


class _Traced:
    """Gives the requests that matter a span, which goes on from the client's traceparent."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        self._plain = app
        self._traced = OpenTelemetryMiddleware(
            app, tracer_provider=provider, exclude_spans=["receive", "send"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        is_traced = scope["type"] == "http" and scope["path"] in TRACED_PATHS
        await (self._traced if is_traced else self._plain)(scope, receive, send)
