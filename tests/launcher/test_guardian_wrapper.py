"""The guardian of an engine behind a wrapper that passes on neither signals nor exit codes.

As `python -m vllm_mindspore.entrypoints` does: it runs the server as a child and ends with 0.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from launcher.state import EngineState
from tests.fakes.running import Control
from tests.launcher.guarded import GuardianProcess, living

pytestmark = pytest.mark.process

WRAPPER = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
# A server that says that it was asked to end, as one does that frees its card in good order.
SERVER = """
import os, runpy, signal, sys
def note(*_):
    print("told to end", flush=True)
    os._exit(0)
sys.argv[1:] = sys.argv[2:]
if sys.argv[1:2] == ["crash"]:
    print("RuntimeError: the card is gone", flush=True)
    sys.exit(7)
import asyncio
asyncio.AbstractEventLoop.add_signal_handler = None
signal.signal(signal.SIGTERM, note)
import tests.fakes.engine as engine
engine.arm = lambda *_: None
sys.exit(engine.main(sys.argv[1:]))
"""


def wrapped(*arguments: str) -> list[str]:
    return [sys.executable, "-c", WRAPPER, "-c", SERVER, "-", *arguments]


def is_serving(state: EngineState) -> bool:
    return state.phase == "running"


def test_the_server_itself_is_asked_to_end_and_ends_in_good_order(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, wrapped("--port", "PORT"), is_wrapper=True) as guarded:
        state = guarded.wait_until(is_serving)
        assert Control(guarded.port).read_stats().pid != state.pid
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert "told to end" in guarded.state.log_lines
        assert state.pid is not None
        assert living(state.pid) == []


def test_without_knowing_of_the_wrapper_the_server_is_killed(tmp_path: Path) -> None:
    """What the knowledge is for: the wrapper dies of the signal, its child hears nothing."""
    with GuardianProcess(tmp_path, wrapped("--port", "PORT")) as guarded:
        state = guarded.wait_until(is_serving)
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert "told to end" not in guarded.state.log_lines
        assert state.pid is not None
        assert living(state.pid) == []


def test_a_server_that_dies_behind_it_is_a_failed_start_with_its_cause(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, wrapped("crash"), is_wrapper=True) as guarded:
        assert guarded.wait() == 1
        state = guarded.state
        assert state.last_exit is not None
        assert state.last_exit.code == 1
        assert "RuntimeError: the card is gone" in state.message
        assert state.next_rung.name == "eager"


def test_a_wrapper_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, wrapped("--port", "PORT"), is_wrapper=True) as guarded:
        state = guarded.wait_until(is_serving)
        assert state.pid is not None
        os.kill(state.pid, signal.SIGKILL)
        assert guarded.wait() == 1
        assert living(state.pid) == []
