"""A stand-in for an OpenTelemetry collector: spans come over HTTP, as protobuf."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S = 15.0


@dataclass(frozen=True)
class Span:
    """What matters of a span; ids in hexadecimal."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]


@dataclass
class Collector:
    """What has come so far."""

    url: str
    spans: list[Span] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def wait_for(self, is_there: Callable[[list[Span]], bool]) -> list[Span]:
        """Block until the spans are as wanted; raises TimeoutError."""
        deadline = time.monotonic() + DEADLINE_S
        while not is_there(spans := list(self.spans)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not there: {spans}")
            time.sleep(0.02)
        return spans


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run it on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.paths.append(self.path)
            collector.spans += spans_of(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_of(body: bytes) -> list[Span]:
    """Read the spans of one export."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            service=next(
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            ),
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes={
                each.key: each.value.string_value or str(each.value.int_value)
                for each in span.attributes
            },
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
