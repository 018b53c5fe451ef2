"""The guardian and its watchdog, as real processes, with a fake engine that hangs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from launcher import scratch
from launcher.state import EngineState
from tests.fakes.running import Control
from tests.fakes.script import Rule, Script, Stall
from tests.fakes.script_json import to_json
from tests.launcher.guarded import DEADLINE_S, POLL_S, GuardianProcess, living

pytestmark = pytest.mark.process

FAKE = (sys.executable, "-m", "tests.fakes.engine", "--host", "127.0.0.1", "--port", "PORT")
STALLS = (*FAKE, "--script-json", to_json(Script(rules=(Rule(Stall()),))))
QUICK = {
    "WATCHDOG_INTERVAL_S": "0.1",
    "WATCHDOG_STALL_S": "0.5",
    "WATCHDOG_SILENT_S": "1",
    "WATCHDOG_CANARY_S": "0",
}
# Where another thing is to be found: a machine that stands still a second is no engine that hangs.
NOT_SILENT = {"WATCHDOG_SILENT_S": "30"}


def ask(port: int) -> None:
    """Send a request and do not wait for its answer."""

    def wait() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        body = b'{"messages": [{"role": "user", "content": "x"}]}'
        try:
            connection.request("POST", "/v1/chat/completions", body)
            connection.getresponse().read()
        except OSError:
            pass  # its engine is killed
        finally:
            connection.close()

    threading.Thread(target=wait, daemon=True).start()


def start(folder: Path, argv: tuple[str, ...], environ: Mapping[str, str]) -> GuardianProcess:
    return GuardianProcess(folder, argv, environ={**QUICK, **environ})


def pid_of(state: EngineState) -> int:
    assert state.pid is not None
    return state.pid


def test_an_engine_that_makes_no_progress_is_killed_and_says_so(tmp_path: Path) -> None:
    with start(tmp_path, (*STALLS, "--children", "2"), NOT_SILENT) as guarded:
        pid = pid_of(guarded.wait_for_phase("running"))
        ask(guarded.port)
        assert guarded.wait() == 1
        assert living(pid) == []
        state = guarded.state
        assert state.last_exit is not None
        assert state.last_exit.reason.startswith("hung: 1 request in flight, no progress for ")
        assert state.message.startswith(f"{state.last_exit.reason}: killed after ")
        assert f"engine: {state.last_exit.reason}: killing it\n" in guarded.console
        guarded.start()
        assert guarded.wait_for_phase("running").attempt == 2


def test_an_idle_engine_that_hangs_is_found_by_its_canary(tmp_path: Path) -> None:
    with start(tmp_path, STALLS, {**NOT_SILENT, "WATCHDOG_CANARY_S": "0.1"}) as guarded:
        assert guarded.wait() == 1
        assert "hung: 1 request in flight" in guarded.state.message


def test_an_engine_that_is_stopped_altogether_is_killed(tmp_path: Path) -> None:
    with start(tmp_path, (*FAKE, "--children", "1"), {}) as guarded:
        pid = pid_of(guarded.wait_for_phase("running"))
        os.killpg(pid, signal.SIGSTOP)
        assert guarded.wait() == 1
        assert living(pid) == []
        assert re.search(r"hung: no answer on its port for \d+ s: killing it", guarded.console)


def test_an_engine_that_says_that_it_is_dead_is_not_waited_for(tmp_path: Path) -> None:
    """vLLM's API server lived on for 40 s after its core was killed, busy with tracebacks."""
    log = tmp_path / "log"
    log.touch()
    # Its log is what the test writes into a file.
    program = (
        f"import runpy, subprocess; subprocess.Popen(['tail', '-f', {str(log)!r}]);"
        "runpy.run_module('tests.fakes.engine', run_name='__main__')"
    )
    argv = (sys.executable, "-c", program, *FAKE[3:])
    with start(tmp_path, argv, {"WATCHDOG": "false"}) as guarded:
        pid = pid_of(guarded.wait_for_phase("running"))
        log.write_text("ERROR [x.py:1] vllm.v1.engine.exceptions.EngineDeadError: EngineCore …\n")
        assert guarded.wait() == 1
        assert living(pid) == []
        assert "dead: its own log says so: killing it" in guarded.console


def test_without_a_watchdog_nothing_is_killed(tmp_path: Path) -> None:
    with start(tmp_path, FAKE, {"WATCHDOG": "false"}) as guarded:
        pid = pid_of(guarded.wait_for_phase("running"))
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            guarded.process.wait(2.5)
        os.kill(pid, signal.SIGCONT)


def test_a_hung_engine_that_is_told_to_stop_has_its_time_for_that(tmp_path: Path) -> None:
    environ = {"ENGINE_STOP_TIMEOUT_S": "3"}
    with start(tmp_path, FAKE, environ) as guarded:
        pid = pid_of(guarded.wait_for_phase("running"))
        os.kill(pid, signal.SIGSTOP)
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert living(pid) == []
        assert guarded.state.phase == "stopped"
        assert "not ended after 3 s: killing it" in guarded.console
        assert "hung" not in guarded.console


def test_the_next_guardian_clears_away_what_is_hung(tmp_path: Path) -> None:
    """A stopped EngineCore takes no SIGTERM, and its API server waits for it."""
    argv = (*FAKE, "--children", "2", "--script-json", '{"ignore_sigterm": true}')
    with start(tmp_path, argv, {"WATCHDOG": "false"}) as guarded:
        state = guarded.wait_until(
            lambda state: state.phase == "running" and len(state.members) > 2
        )
        left = pid_of(state)
        folder = Path(state.scratch_dir)
        child = Control(guarded.port).read_stats().children[0]
        os.kill(child, signal.SIGSTOP)
        guarded.process.kill()
        guarded.process.wait()
        assert folder.is_dir()
        wait_until_stopped(child)
        guarded.start()
        assert guarded.wait_for_phase("running").pid != left
        assert living(left) == []
        assert not folder.exists()


def wait_until_stopped(pid: int) -> None:
    """A signal is on its way for a moment; this fails when it never arrives."""
    end = time.monotonic() + DEADLINE_S
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < end, "it is not stopped"
        time.sleep(POLL_S)


def test_temporary_files_go_with_the_engine(tmp_path: Path) -> None:
    """vLLM leaves its sockets in the temporary folder when it is killed."""
    program = """
import socket, sys, tempfile, time
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(tempfile.gettempdir() + "/socket")
    print("armed", flush=True)
    time.sleep(3600)
"""
    with GuardianProcess(tmp_path, [sys.executable, "-c", program]) as guarded:
        state = guarded.wait_until(lambda state: "armed" in state.log_lines)
        folder = Path(state.scratch_dir)
        assert folder.name.startswith(scratch.PREFIX)
        assert folder.parent == Path(tempfile.gettempdir())
        assert [entry.name for entry in folder.iterdir()] == ["socket"]
        os.killpg(pid_of(state), signal.SIGKILL)
        assert guarded.wait() == 1
        assert not folder.exists()


def test_a_disk_that_fills_up_stops_neither_the_service_nor_its_state(tmp_path: Path) -> None:
    """Files end at so many bytes, as on a full disk: the last whole state stays."""
    talk = "import threading, time\n"
    talk += "def talk():\n  while True: print('x' * 200, flush=True); time.sleep(0.02)\n"
    talk += "threading.Thread(target=talk, daemon=True).start()\n"
    talk += "import runpy; runpy.run_module('tests.fakes.engine', run_name='__main__')"
    argv = [sys.executable, "-c", talk, "--port", "PORT"]
    guarded = GuardianProcess(tmp_path, argv, environ={"WATCHDOG": "false"}, file_limit_bytes=6000)
    with guarded:
        guarded.wait_for_console("cannot write the engine's log")
        guarded.wait_for_console("going on without it")
        guarded.wait_for_console("ready after ")
        wait_until_served(guarded.port)
        assert guarded.state.phase in ("starting", "running")
        assert [entry.suffix for entry in guarded.state_file.parent.glob("*.tmp")] == []
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM


def wait_until_served(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while Control(port).read_stats().pid == 0:
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
