"""Runs the gateway for tests: its parts, the application under uvicorn, the process.

Also servers on real sockets that say what no engine should.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from gateway.__main__ import CLIENT_KEEPALIVE_S, bind
from gateway.answering import Task
from gateway.app import create_app
from gateway.metrics import Metrics
from gateway.policy import AnswerRules
from gateway.sampling import Sampling
from gateway.service import Service
from gateway.settings import Settings
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
POLL_S = 0.01
SAMPLING = Sampling(
    max_new_tokens=64,
    temperature=0.0,
    top_p=1.0,
    top_k=-1,
    repetition_penalty=1.0,
    frequency_penalty=0.0,
    stop=(),
)
QUICK: dict[str, Any] = {
    "batch_concurrency": 8,
    "predict_deadline_s": 15.0,
    "health_interval_s": 0.02,
    "health_timeout_s": 10.0,
    "warmup_budget_s": 10.0,
    "prompts_per_call": 1,
    "grace_period_s": 1.0,
}


def settings_for(engine_url: str, **changes: Any) -> Settings:
    """Return settings with short waits, for an engine at a URL."""
    return Settings(engine_url=engine_url, **{**QUICK, **changes})


def tasks_of(prompts: Sequence[str], sampling: Sampling = SAMPLING) -> list[Task]:
    cuts = AnswerRules()
    return [Task(prompt, sampling, f"test-{index}", cuts) for index, prompt in enumerate(prompts)]


def sample(exposition: str, name: str, **labels: str) -> float:
    """Return one sample of a Prometheus exposition; 0 when it is not there."""
    for family in text_string_to_metric_families(exposition):
        for each in family.samples:
            if each.name == name and each.labels == labels:
                return float(each.value)
    return 0.0


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    return sample(metrics.exposition().decode(), name, **labels)


async def wait_until(is_so: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    with anyio.fail_after(deadline_s):
        while not is_so():  # noqa: ASYNC110
            await anyio.sleep(POLL_S)


@asynccontextmanager
async def running_service(settings: Settings, *, is_warm: bool = True) -> AsyncIterator[Service]:
    """Run the gateway's parts without its HTTP side; `is_warm` waits for that."""
    async with Service(settings) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.readiness.run)
        if is_warm:
            with anyio.fail_after(DEADLINE_S):
                await service.readiness.wait_until_ready()
        yield service
        tasks.cancel_scope.cancel()


@dataclass
class Gateway:
    """A gateway on a port of this machine."""

    port: int
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def predict(self, prompt: Any, **fields: Any) -> httpx.Response:
        return await self.client.post("/predict", json={"prompt": prompt, **fields})

    async def sample(self, name: str, **labels: str) -> float:
        return sample((await self.get("/metrics")).text, name, **labels)

    async def info(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.get("/info")).json()
        return told

    async def wait_for_phase(self, phase: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until /info tells the phase; return what it tells."""
        with anyio.fail_after(deadline_s):
            while (told := await self.info())["phase"] != phase:  # noqa: ASYNC110
                await anyio.sleep(POLL_S)
        return told

    async def wait_until_warm(self, deadline_s: float = DEADLINE_S) -> None:
        await self.wait_for_phase("ready", deadline_s)

    async def wait_for_sample(self, name: str, value: float, **labels: str) -> None:
        with anyio.fail_after(DEADLINE_S):
            while await self.sample(name, **labels) != value:  # noqa: ASYNC110
                await anyio.sleep(POLL_S)


def client_of(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False
    )


class Server(uvicorn.Server):
    """Leaves the signals to the test runner, so that Ctrl-C ends the tests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    is_warm: bool = True,
    on_bound: Callable[[int], None] = lambda port: None,
) -> AsyncIterator[Gateway]:
    """Serve the application under uvicorn in this event loop, on a free port.

    `on_bound` gets the port before the application starts up.
    """
    listener = bind("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    on_bound(port)
    server = Server(
        uvicorn.Config(
            create_app(settings, is_stopping=lambda: server.should_exit),
            log_config=None,
            access_log=False,
            # Idle for uvicorn's 5 s on a machine that stands still, a connection ends under a test.
            timeout_keep_alive=CLIENT_KEEPALIVE_S,
            timeout_graceful_shutdown=3,
        )
    )
    with listener:
        async with anyio.create_task_group() as tasks, client_of(port) as client:
            tasks.start_soon(server.serve, [listener])
            gateway = Gateway(port, client)
            try:
                await wait_until(lambda: server.started)
                if is_warm:
                    await gateway.wait_until_warm()
                yield gateway
            finally:
                server.should_exit = True


@dataclass
class GatewayProcess:
    """`python -m gateway` as a process of its own; its output is read as it comes."""

    port: int
    process: subprocess.Popen[bytes]
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Block until it has ended, reading what it says; return the exit code."""
        out, err = self.process.communicate(timeout=deadline_s)
        self.stdout += out.decode().splitlines()
        self.stderr += err.decode().splitlines()
        return self.process.returncode

    def wait_for_stderr(self, text: str, deadline_s: float = DEADLINE_S) -> str:
        """Block until a line on standard error holds `text`; return the line."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            if not select.select([self.process.stderr], [], [], 0.1)[0]:
                continue
            line = self.process.stderr.readline().decode().rstrip("\n")
            self.stderr.append(line)
            if text in line:
                return line
            if not line and self.process.poll() is not None:
                break
        raise TimeoutError(f"{text!r} not on standard error: {self.stderr}")

    def json_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout]


@contextmanager
def gateway_process(
    environment: dict[str, str], *, max_files: int | None = None, port: int | None = None
) -> Iterator[GatewayProcess]:
    """Start the process with nothing of our settings but `environment`; kill it at the end."""
    port = free_port() if port is None else port
    own = {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HEALTH_INTERVAL_S": "0.02"}
    argv = [sys.executable, "-m", "gateway"]
    if max_files is not None:
        argv = ["sh", "-c", f'ulimit -n {max_files} && exec "$@"', "sh", *argv]
    process = subprocess.Popen(
        argv,
        cwd=REPOSITORY,
        env={**os.environ, **own, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield GatewayProcess(port, process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@asynccontextmanager
async def saying(replies: dict[str, bytes]) -> AsyncIterator[str]:
    """Serve fixed bytes by path, then close: for what no engine should say. Yields the URL."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        writer.write(replies.get(path, reply_of(b"", "404 Not Found")))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def reply_of(body: bytes, status: str = "200 OK") -> bytes:
    """Return a whole HTTP/1.1 reply."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
