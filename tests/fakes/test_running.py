"""The fake engine as a process: what a launcher's guardian and the tests' fixtures see of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import REPOSITORY, Control, FakeEngine
from tests.fakes.script import Rule, Script, Stall
from tests.fakes.script_json import to_json

SOON_S = 5.0


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fakes.engine", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, text=True, capture_output=True, input="", timeout=30
    )


def wait_until_gone(pid: int) -> None:
    """A process of somebody else's is gone when it is no more than a zombie."""
    deadline = time.monotonic() + SOON_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)


@pytest.mark.anyio
async def test_sigterm_ends_it_at_once_with_0_also_while_requests_hang() -> None:
    body = b'{"messages":[]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with (
        FakeEngine.start([Rule(Stall())]) as engine,
        socket.create_connection(("127.0.0.1", engine.port)) as client,
    ):
        client.sendall(head + body)
        await engine.wait_until(lambda stats: stats.running == 1)
        start = time.monotonic()
        assert engine.stop() == 0
        assert time.monotonic() - start < SOON_S


@pytest.mark.anyio
async def test_sigterm_can_be_ignored_by_it_and_its_children() -> None:
    with FakeEngine.start(Script(ignore_sigterm=True), arguments=["--children", "1"]) as engine:
        os.killpg(engine.pid, signal.SIGTERM)
        stats = await engine.stats()
        assert stats.pid == engine.pid
        assert psutil.Process(stats.children[0]).status() != psutil.STATUS_ZOMBIE
        await engine.set_script(Script())
        assert engine.stop() == 0
        wait_until_gone(stats.children[0])


@pytest.mark.anyio
async def test_killed_engine_leaves_its_children_in_the_group() -> None:
    with FakeEngine.start(arguments=["--children", "2"]) as engine:
        children = (await engine.stats()).children
        group = engine.pid
        engine.kill()
        assert [os.getpgid(child) for child in children] == [group, group]
    for child in children:
        wait_until_gone(child)


@pytest.mark.anyio
async def test_starts_again_on_the_same_port() -> None:
    with FakeEngine.start() as engine:
        port, pid = engine.port, engine.pid
        engine.kill()
        with pytest.raises(ConnectionRefusedError):
            await engine.stats()
        engine.start_again(Script(model="second"))
        assert engine.port == port
        assert engine.pid != pid
        assert (await Control(port).stats()).pid == engine.pid


@pytest.mark.anyio
async def test_frozen_engine_answers_after_the_thaw() -> None:
    with FakeEngine.start() as engine:
        engine.freeze()
        with socket.create_connection(("127.0.0.1", engine.port), timeout=0.2) as client:
            client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)
            engine.thaw()
            client.settimeout(SOON_S)
            assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.anyio
async def test_flags_of_a_real_engine_are_honoured_or_ignored() -> None:
    flags = ["--served-model-name", "m", "--max-model-len", "77", "--dtype", "bfloat16", "--eager"]
    with FakeEngine.start(arguments=flags) as engine:
        await engine.set_script(Script(max_model_len=5))
        stats = await engine.stats()
        assert stats.argv[-len(flags) :] == flags
        with socket.create_connection(("127.0.0.1", engine.port), timeout=SOON_S) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert b'"id": "m"' in answer
        assert b'"max_model_len": 77' in answer


def test_script_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(to_json(Script()))
    assert run_program("--script", str(path), "--until-stdin-closes").returncode == 0
    path.write_text("no script")
    assert run_program("--script", str(path), "--until-stdin-closes").returncode == 2


def test_end_of_stdin_ends_it_before_a_crash_is_due() -> None:
    done = run_program("--until-stdin-closes", "--crash-after", "60")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 4])
def test_crash_can_come_before_anything_else(code: int) -> None:
    done = run_program("--crash-after", "0", "--crash-code", str(code))
    assert done.returncode == code


def test_crash_says_why_and_leaves_with_its_code() -> None:
    done = run_program("--crash-after", "1", "--crash-message", "CUDA out of memory")
    assert (done.returncode, done.stderr) == (1, "CUDA out of memory\n")
    assert done.stdout.startswith("fake engine: http://127.0.0.1:")


def test_bad_script_stops_the_start() -> None:
    done = run_program("--script-json", '{"health": "ill"}')
    assert done.returncode == 2
    assert "health='ill'" in done.stderr


def test_start_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        FakeEngine.start(arguments=["--host", "192.0.2.1"])


def test_engine_ends_with_the_process_that_started_it() -> None:
    program = "import os; from tests.fakes.running import FakeEngine as F; e = F.start(); "
    program += "print(e.pid, flush=True); os._exit(0)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, timeout=30)
    wait_until_gone(int(done.stdout.split()[-1]))


@pytest.mark.anyio
async def test_wait_until_tells_what_was_there_at_the_deadline() -> None:
    with (
        FakeEngine.start() as engine,
        pytest.raises(TimeoutError, match=r"not so within 0.05 s: Stats\(requests=0"),
    ):
        await engine.wait_until(lambda stats: stats.requests == 1, deadline_s=0.05)


def test_close_twice_is_harmless() -> None:
    engine = FakeEngine.start()
    engine.kill()
    engine.close()
    engine.close()
