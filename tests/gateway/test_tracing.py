"""Traces, as a collector gets them from a gateway that runs as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds

from tests.fakes.running import FakeEngine
from tests.gateway.collector import Collector, Span, collecting
from tests.gateway.serving import REPOSITORY, GatewayProcess, gateway_process

pytestmark = pytest.mark.anyio
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50", "PROMPTS_PER_CALL": "1"}


def predict(gateway: GatewayProcess, path: str = "/predict") -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}{path}",
        json.dumps({"prompt": ["one", "two"]}).encode(),
        {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def of_trace(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.trace_id == TRACE_ID]


def ask_traced(engine: FakeEngine, collector: Collector, path: str) -> list[Span]:
    """Return the spans of one request of two prompts."""
    environment = {
        **QUICK,
        "ENGINE_URL": engine.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    with gateway_process(environment) as gateway:
        gateway.wait_for_stderr("ready at")
        predict(gateway, path)
        spans = collector.wait_for(lambda spans: len(of_trace(spans)) == 3)
        gateway.signal(signal.SIGTERM)
        gateway.wait()
    return spans


@pytest.mark.parametrize("path", ["/predict", "/status/try"])
async def test_a_request_and_its_calls_are_one_trace_that_goes_on_in_the_engine(
    engine: FakeEngine, path: str
) -> None:
    with collecting() as collector:
        spans = await anyio.to_thread.run_sync(ask_traced, engine, collector, path)
    assert set(collector.paths) == {"/v1/traces"}
    [server] = [span for span in of_trace(spans) if span.kind == Kinds.SPAN_KIND_SERVER]
    calls = [span for span in of_trace(spans) if span.kind == Kinds.SPAN_KIND_CLIENT]
    assert (server.service, server.parent_id) == ("evalgate", PARENT_ID)
    assert path in server.name
    assert [call.parent_id for call in calls] == [server.span_id] * 2
    header = (await engine.stats()).last_headers["traceparent"]
    assert header in [f"00-{TRACE_ID}-{call.span_id}-01" for call in calls]
    # It is looked at twice a second.
    assert not [span for span in spans if "/health" in "".join(span.attributes.values())]


async def test_without_the_packages_a_line_says_so_and_the_gateway_serves(
    engine: FakeEngine, tmp_path: Path
) -> None:
    hidden = tmp_path / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").write_text('raise ImportError("hidden", name="opentelemetry")\n')
    environment = {
        **QUICK,
        "ENGINE_URL": engine.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(tmp_path),
    }

    def serve() -> str:
        with gateway_process(environment) as gateway:
            line = gateway.wait_for_stderr("OTEL_EXPORTER_OTLP_ENDPOINT")
            gateway.wait_for_stderr("ready at")
            predict(gateway)
        return line

    line = await anyio.to_thread.run_sync(serve)
    assert "opentelemetry is not installed" in line
    assert "requirements/tracing.txt" in line


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    script = (
        "import sys; from gateway.app import create_app; from gateway.settings import Settings\n"
        "create_app(Settings())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
