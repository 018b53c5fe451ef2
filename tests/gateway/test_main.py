"""`python -m gateway` as the process that it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import psutil
import pytest

from gateway.__main__ import PortTaken, bind
from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule
from tests.gateway.serving import GatewayProcess, client_of, gateway_process
from tests.ports import free_port

pytestmark = pytest.mark.anyio
# uvicorn raises the signal that stopped it once more after its clean end.
ENDED_BY_SIGTERM = -signal.SIGTERM


def ask(gateway: GatewayProcess, prompt: Any, timeout_s: float = 20) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=timeout_s) as client:
        return client.post(f"http://127.0.0.1:{gateway.port}/predict", json={"prompt": prompt})


def environment_of(engine: FakeEngine, **settings: str) -> dict[str, str]:
    return {"ENGINE_URL": engine.url, "BATCH_CONCURRENCY": "8", **settings}


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"TEMPERATURE": "hot"}, r"TEMPERATURE='hot': .*number"),
        ({"SYSTEM_PROMPT_FILE": "no/such/file"}, r"SYSTEM_PROMPT_FILE='no/such/file': cannot be"),
        ({"POLICY_FILE": "no/such/file"}, r"no/such/file: cannot be read"),
        ({"GATEWAY_HOST": "192.0.2.1"}, r"GATEWAY_PORT=\d+: 192\.0\.2\.1:\d+ cannot be had"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(environment: dict[str, str], line: str) -> None:
    with gateway_process(environment) as gateway:
        assert gateway.wait() == 3
    [told] = gateway.stderr
    assert re.match(f"gateway: cannot start: {line}", told), told


async def test_serves_on_when_nobody_reads_what_it_says(engine: FakeEngine) -> None:
    """The line that tells of the ready gateway found its reader gone, and the rest went with it."""
    port = free_port()
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(  # noqa: ASYNC220 - it does not end by itself
        [sys.executable, "-m", "gateway"],
        env={**os.environ, **environment_of(engine), "GATEWAY_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=write,
    )
    os.close(write)
    try:
        await wait_for_status(port, 200)
        await anyio.sleep(1)  # the line comes right after
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            reply = await client.post(f"http://127.0.0.1:{port}/predict", json={"prompt": "a"})
        assert reply.json() == {"response": "answer to: a"}
    finally:
        process.kill()
        process.wait()


async def test_ends_when_its_own_work_has_failed(engine: FakeEngine, tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text(
        "import sys, gateway.__main__ as own\n"
        "def fail(settings): raise ZeroDivisionError('a defect')\n"
        "own._tell_ready = fail\n"
        "sys.exit(own.main())\n"
    )
    with anyio.fail_after(60):
        done = await anyio.run_process(
            [sys.executable, str(program)],
            env={
                **os.environ,
                **environment_of(engine),
                "GATEWAY_PORT": str(free_port()),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            check=False,
        )
    assert done.returncode == ENDED_BY_SIGTERM
    assert b"ZeroDivisionError: a defect" in done.stdout
    assert b"the gateway has a defect and ends" in done.stdout


async def wait_for_status(port: int, status: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    with anyio.fail_after(30):
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == status:
                        return
                await anyio.sleep(0.05)


def test_taken_port_cannot_start() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with gateway_process({}, port=port) as gateway:
            assert gateway.wait() == 3
    [told] = gateway.stderr
    assert told.startswith(f"gateway: cannot start: GATEWAY_PORT={port}: ")
    assert "in use" in told


async def test_says_when_it_is_ready_and_ends_by_ctrl_c(engine: FakeEngine) -> None:
    with gateway_process(environment_of(engine)) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "ready at")
        line = await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        assert f"http://127.0.0.1:{gateway.port}/predict" in line
        pasted = await anyio.run_process(["sh", "-c", line])
        assert json.loads(pasted.stdout) == {"response": "answer to: 什么是warp？"}
        gateway.signal(signal.SIGINT)
        code = await anyio.to_thread.run_sync(gateway.wait)
    assert code == 0
    assert "Traceback" not in "\n".join(gateway.stdout + gateway.stderr)


async def test_raises_its_open_file_limit_and_ends_quickly_by_sigterm(engine: FakeEngine) -> None:
    with gateway_process(environment_of(engine)) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        soft, hard = open_file_limits(gateway.pid)
        assert soft == min(hard, 65_536)
        started = time.monotonic()
        gateway.signal(signal.SIGTERM)
        code = await anyio.to_thread.run_sync(gateway.wait)
        assert time.monotonic() - started < 12
    assert code == ENDED_BY_SIGTERM
    assert "Traceback" not in "\n".join(gateway.stdout + gateway.stderr)


def open_file_limits(pid: int) -> tuple[int, int]:
    """Return the soft and the hard limit of a process."""
    return psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)


async def test_sigterm_lets_a_batch_finish_inside_the_grace_period(engine: FakeEngine) -> None:
    with gateway_process(environment_of(engine, GRACE_PERIOD_S="15")) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        await engine.set_script([Rule(script.Hold())])
        responses: list[httpx.Response] = []

        async def collect() -> None:
            responses.append(await anyio.to_thread.run_sync(ask, gateway, ["a", "b"]))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(lambda stats: stats.running == 2)
            gateway.signal(signal.SIGTERM)
            await refuses(gateway.port)
            await engine.release()
        assert responses[0].json() == {"response": ["answer to: a", "answer to: b"]}
        assert await anyio.to_thread.run_sync(gateway.wait) == ENDED_BY_SIGTERM


async def test_sigterm_cuts_a_batch_at_the_end_of_the_grace_period(engine: FakeEngine) -> None:
    with gateway_process(environment_of(engine, GRACE_PERIOD_S="0.5")) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        await engine.set_script([Rule(script.Stall(), match="stall")])
        responses: list[httpx.Response] = []

        async def collect() -> None:
            responses.append(await anyio.to_thread.run_sync(ask, gateway, ["a", "stall"]))

        started = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await engine.wait_until(
                lambda stats: {"a", "stall"} <= set(stats.by_prompt) and stats.running == 1
            )
            gateway.signal(signal.SIGTERM)
        assert responses[0].json() == {"response": ["answer to: a", ""]}
        assert await anyio.to_thread.run_sync(gateway.wait) == ENDED_BY_SIGTERM
        assert time.monotonic() - started < 20


async def refuses(port: int) -> None:
    """Wait until a port refuses connections."""
    with anyio.fail_after(10):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()
            await anyio.sleep(0.01)


async def test_sigterm_while_the_port_is_held_ends_it_promptly() -> None:
    environment = {
        "ENGINE_URL": f"http://127.0.0.1:{free_port()}",
        "HOLD_PORT_UNTIL_WARM": "1",
        "GRACE_PERIOD_S": "15",
    }
    with gateway_process(environment) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "port closed until")
        started = time.monotonic()
        gateway.signal(signal.SIGTERM)
        code = await anyio.to_thread.run_sync(gateway.wait)
        assert time.monotonic() - started < 12
    assert code == ENDED_BY_SIGTERM
    assert "Traceback" not in "\n".join(gateway.stdout + gateway.stderr)


async def test_batch_completes_with_few_open_files(engine: FakeEngine) -> None:
    """With connections for a whole batch there was none left to ask for the engine's health."""
    environment = environment_of(engine, BATCH_CONCURRENCY="1000")
    prompts = [f"question {index}" for index in range(2000)]
    with gateway_process(environment, max_files=256) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        assert open_file_limits(gateway.pid) == (256, 256)
        await engine.set_script([Rule(script.Delay(0.0, 0.02))])
        response = await anyio.to_thread.run_sync(ask, gateway, prompts)
        lowered = "BATCH_CONCURRENCY lowered from 1000 to 144: the limit of open files is 256"
        assert lowered in "\n".join(gateway.stderr)
    assert response.json() == {"response": [f"answer to: {prompt}" for prompt in prompts]}
    assert (await engine.stats()).peak_running <= 144


async def test_head_that_does_not_end_is_refused(engine: FakeEngine) -> None:
    """A header of 16 MB was read, and answered."""
    with gateway_process(environment_of(engine)) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
        async with stream:
            with anyio.fail_after(20), contextlib.suppress(anyio.BrokenResourceError):
                await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
                for _ in range(64):
                    await stream.send(b"x" * 2**16)
        # A long body after a head of usual size, and several of both, are something else.
        body = {"prompt": "x" * 2**20}
        async with client_of(gateway.port) as client:
            for _ in range(3):
                assert (await client.post("/predict", json=body)).status_code == 200
            assert (await client.get("/", headers={"X-Long": "x" * 2**17})).status_code == 200
            with pytest.raises(httpx.HTTPError):
                (await client.get("/", headers={"X-Long": "x" * 2**20})).raise_for_status()


async def run_two_batches(engine: FakeEngine, **settings: str) -> GatewayProcess:
    """Run a process through a good batch and a refused request, and to its end."""
    with gateway_process(environment_of(engine, **settings)) as gateway:
        await anyio.to_thread.run_sync(gateway.wait_for_stderr, "curl")
        await anyio.to_thread.run_sync(ask, gateway, ["my secret", ""])
        await anyio.to_thread.run_sync(ask, gateway, 5)
        gateway.signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(gateway.wait)
    return gateway


async def test_json_log_is_one_object_a_line(engine: FakeEngine) -> None:
    gateway = await run_two_batches(engine, LOG_FORMAT="json")
    lines = [json.loads(line) for line in gateway.stdout]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    [batch] = [line for line in lines if line["message"] == "predict"]
    assert (batch["prompts"], batch["whole"], batch["blank"]) == (2, 1, 1)
    [refused] = [line for line in lines if line.get("status") == 400]
    assert refused["type"] == "InvalidRequest"
    assert any("engine ready" in line["message"] for line in lines)
    assert "secret" not in "\n".join(gateway.stdout + gateway.stderr)


async def test_plain_log_is_one_readable_line_a_batch(engine: FakeEngine) -> None:
    gateway = await run_two_batches(engine, LOG_PROMPTS="1")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert all(re.match(f"{stamp} (INFO|WARNING) +\\S", line) for line in gateway.stdout)
    [batch] = [line for line in gateway.stdout if " predict " in line]
    assert re.search(r" request_id=\w{32} prompts=2 whole=1 partial=0 blank=1 ", batch)
    assert "my secret" in batch
    assert not any("GET /" in line for line in gateway.stdout), "no access log"
    assert any(line.startswith("gateway: engine ready, was warming") for line in gateway.stderr)
    assert not any("predict" in line and "curl" not in line for line in gateway.stderr)


def test_bound_port_refuses_until_it_is_served() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} cannot be had"):
            listener.listen()
            bind("127.0.0.1", port)


def test_unknown_host_cannot_be_had() -> None:
    with pytest.raises(PortTaken, match="engine.invalid:8000 cannot be had"):
        bind("engine.invalid", 8000)


def test_binds_ipv6() -> None:
    with bind("::1", 0) as listener:
        assert listener.family is socket.AF_INET6
