"""The guardian, as a real process with real engines, which are small or fake programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anyio
import psutil
import pytest

from launcher import guardian
from launcher.engines.base import EnginePlan
from launcher.ladder import Rung
from launcher.settings import LauncherSettings
from launcher.state import EngineState, read_state
from tests.fakes.running import Control
from tests.launcher.guarded import PACE, GuardianProcess, living, wait_until_living
from tests.ports import free_port

# `exec` keeps the shell from being one process more.
FAKE = (sys.executable, "-m", "tests.fakes.engine", "--host", "127.0.0.1", "--port", "PORT")


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def is_running(state: EngineState) -> bool:
    return state.phase == "running"


def test_an_engine_becomes_ready_and_the_state_file_tells_everything(tmp_path: Path) -> None:
    argv = (*FAKE, "--children", "2", "--api-key", "sesame")
    with GuardianProcess(tmp_path, argv) as guarded:
        state = guarded.wait_for_phase("running")
        assert Control(guarded.port).read_stats().pid == state.pid
        assert state.guardian_pid == guarded.process.pid
        assert state.started_at is not None
        assert state.ready_at is not None
        assert time.time() - 60 < state.started_at <= state.ready_at <= time.time()
        assert state.message.startswith("ready after ")
        assert (state.attempt, state.rung, state.model_dir) == (1, "as configured", "/models/fake")
        assert state.argv[-2:] == ("--api-key", "***")
        assert len(state.members) == 3
        assert "engine: starting a fake engine\nengine: ready after " in guarded.console
        assert state.pid is not None
        assert os.getsid(state.pid) == os.getpgid(state.pid) == state.pid


def test_sigterm_reaches_the_leader_once_and_leaves_nothing(tmp_path: Path) -> None:
    """A second SIGTERM makes vLLM abort its clean-up."""
    count = tmp_path / "count"
    program = f"""
import signal, sys, time
def count(*_):
    with open({str(count)!r}, "a") as file:
        file.write("x")
signal.signal(signal.SIGTERM, count)
print("armed", flush=True)
while not __import__("os").path.exists({str(count)!r}):
    time.sleep(0.01)
time.sleep(0.5)  # long enough for a second one to come
"""
    with GuardianProcess(tmp_path, python(program)) as guarded:
        state = guarded.wait_until(lambda state: "armed" in state.log_lines)
        guarded.terminate()
        guarded.wait_for_console("engine: stopping\n")
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert count.read_text() == "x"
        assert state.pid is not None
        assert living(state.pid) == []
        last = guarded.state
        assert (last.phase, last.message) == ("stopped", "stopped by SIGTERM")
        assert last.last_exit is not None
        assert last.last_exit.code == 0


def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, FAKE) as guarded:
        guarded.wait_for_phase("running")
        guarded.process.send_signal(signal.SIGINT)
        assert guarded.wait() == 128 + signal.SIGINT


def test_an_engine_that_ignores_sigterm_is_killed_after_the_timeout(tmp_path: Path) -> None:
    argv = (*FAKE, "--children", "1", "--script-json", '{"ignore_sigterm": true}')
    with GuardianProcess(tmp_path, argv, environ={"ENGINE_STOP_TIMEOUT_S": "0.5"}) as guarded:
        state = guarded.wait_for_phase("running")
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert state.pid is not None
        assert living(state.pid) == []
        assert "not ended after 0.5 s: killing it" in guarded.console


def test_a_killed_leader_takes_its_group_along(tmp_path: Path) -> None:
    """vLLM's EngineCore outlives a killed API server and holds the card's memory for good."""
    with GuardianProcess(tmp_path, (*FAKE, "--children", "2")) as guarded:
        state = guarded.wait_for_phase("running")
        assert state.pid is not None
        assert len(living(state.pid)) == 3
        os.kill(state.pid, signal.SIGKILL)
        assert guarded.wait() == 1
        assert living(state.pid) == []
        last = guarded.state
        assert last.phase == "exited"
        assert last.last_exit is not None
        assert (last.last_exit.code, last.last_exit.signal) == (None, 9)
        assert "ended by signal 9 (SIGKILL) after " in guarded.console


def test_an_engine_that_ends_well_is_a_failure_all_the_same(tmp_path: Path) -> None:
    """vLLM's API server exits with 0 when its EngineCore was killed."""
    with GuardianProcess(tmp_path, python("print('last words')")) as guarded:
        assert guarded.wait() == 1
        last = guarded.state.last_exit
        assert last is not None
        assert (last.code, last.reason, last.log_lines) == (0, "exit code 0", ("last words",))
        assert "last lines:\n  last words\n" in guarded.console


def test_arguments_that_the_engine_rejects_end_the_tries(tmp_path: Path) -> None:
    program = "import argparse; argparse.ArgumentParser(prog='server').parse_args(['--nope'])"
    with GuardianProcess(tmp_path, python(program)) as guarded:
        assert guarded.wait() == 3
        words = "the engine rejects its arguments: server: error: unrecognized arguments: --nope"
        assert guarded.console.endswith(f"engine: cannot start: {words}\n")
        assert (guarded.state.phase, guarded.state.message) == ("failed", words)


def test_what_cannot_start_as_configured_says_why_in_one_line(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, FAKE, failure="there is no model") as guarded:
        assert guarded.wait() == 3
        assert guarded.console == "engine: cannot start: there is no model\n"
        assert (guarded.state.phase, guarded.state.message) == ("failed", "there is no model")


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, ["/no/such/program"]) as guarded:
        assert guarded.wait() == 1
        assert "cannot run /no/such/program: No such file" in guarded.console


def test_a_process_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, FAKE, padding_bytes=3_000_000) as guarded:
        assert guarded.wait() == 1
        assert "engine: cannot start: cannot start a process: " in guarded.console
        assert guarded.state.phase == "exited"


def ready_pid(state_file: Path) -> int | None:
    state = read_state(state_file)
    return state.pid if state is not None and state.phase == "running" else None


@pytest.mark.anyio
async def test_a_cancelled_guardian_leaves_no_engine(tmp_path: Path) -> None:
    """Whatever goes wrong in the guardian itself, the engine does not outlive it."""
    port = free_port()
    settings = LauncherSettings(engine_port=port, engine_state_file=tmp_path / "engine.json")
    argv = [part.replace("PORT", str(port)) for part in (*FAKE, "--children", "2")]
    plan = EnginePlan("a fake", tuple(argv), os.environ, settings.engine_url, "/health")

    async def plan_engine(rung: Rung) -> EnginePlan:
        return plan

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guardian.run, settings, plan_engine, PACE)
            while (pid := ready_pid(settings.engine_state_file)) is None:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            assert len(living(pid)) == 3
            engine = pid
            tasks.cancel_scope.cancel()
    assert living(engine) == []


def test_a_signal_during_the_preparation_ends_it_at_once(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, FAKE, plan_s=3600) as guarded:
        guarded.wait_until(lambda state: state.message.startswith("looking"))
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert (guarded.state.phase, guarded.state.pid) == ("stopped", None)


def test_a_port_in_use_is_told_before_the_engine_is_started(tmp_path: Path) -> None:
    guarded = GuardianProcess(tmp_path, FAKE)
    occupant = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(guarded.port))
    with subprocess.Popen(occupant, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            wait_until_listening(guarded.port)
            with guarded:
                assert guarded.wait() == 3
                message = f"ENGINE_PORT={guarded.port}: another program listens there"
                assert guarded.state.message == message
        finally:
            other.kill()


def wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while not any(
        connection.laddr[1:2] == (port,) and connection.status == psutil.CONN_LISTEN
        for connection in psutil.net_connections("tcp")
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_guardian_asks_its_engine_to_end(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, (*FAKE, "--children", "2")) as guarded:
        state = guarded.wait_for_phase("running")
        guarded.process.kill()
        assert state.pid is not None
        wait_until_living(state.pid, 0)


def test_the_next_guardian_kills_what_a_killed_one_left(tmp_path: Path) -> None:
    argv = (*FAKE, "--children", "2", "--script-json", '{"ignore_sigterm": true}')
    guarded = GuardianProcess(tmp_path, argv, environ={"ENGINE_STOP_TIMEOUT_S": "0.1"})
    with guarded:
        left = guarded.wait_until(lambda state: is_running(state) and len(state.members) == 3).pid
        assert left is not None
        guarded.process.kill()
        guarded.process.wait()
        os.kill(left, signal.SIGKILL)  # the leader is gone, its children are not
        wait_until_living(left, 2)
        guarded.start()
        state = guarded.wait_for_phase("running")
        assert living(left) == []
        assert state.pid != left
        assert state.attempt == 2
        assert state.last_exit is not None
        assert state.last_exit.reason == "its launcher was killed"
        assert "killed the engine that a killed launcher left behind" in guarded.console
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM


LEAVES_A_CHILD_ON_ITS_PORT = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    sys.exit(7)
time.sleep(600)
"""


def test_an_engine_that_outlasts_sigkill_is_waited_for_not_given_up_for(tmp_path: Path) -> None:
    """As one does that hangs in a driver, and ends some time: exit code 3 would be for good."""
    argv = [*python(LEAVES_A_CHILD_ON_ITS_PORT), "PORT"]
    guarded = GuardianProcess(tmp_path, argv, outlasts_sigkill=True)
    with guarded:
        assert guarded.wait() == 1
        (left,) = guarded.state.members
        try:
            for _ in range(2):
                guarded.start()
                assert guarded.wait() == 1
                told = f"ENGINE_PORT={guarded.port}: another program listens there, left of the"
                assert guarded.state.message.startswith(told)
        finally:
            os.kill(left.pid, signal.SIGKILL)
        guarded.start()
        assert guarded.wait() == 1
        assert "listens there" not in guarded.state.message
        (other,) = guarded.state.members
        os.kill(other.pid, signal.SIGKILL)
        assert other != left  # it was started


def test_a_second_guardian_of_the_same_engine_gives_way(tmp_path: Path) -> None:
    with GuardianProcess(tmp_path, FAKE) as first:
        state = first.wait_for_phase("running")
        second = GuardianProcess(tmp_path, FAKE)
        with second:
            assert second.wait() == 3
        assert "another launcher runs the engine of" in first.console
        assert first.state == state


def test_crashes_in_a_row_are_counted_and_waited_for(tmp_path: Path) -> None:
    environ = {"ENGINE_LADDER": "0"}
    with GuardianProcess(tmp_path, python("raise SystemExit(7)"), environ=environ) as guarded:
        assert guarded.wait() == 1
        begin = time.monotonic()
        guarded.start()
        guarded.wait_for_console("waiting 1 s before start 2 in a row")
        assert guarded.wait() == 1
        assert time.monotonic() - begin >= 1
        assert guarded.state.attempt == 2
        guarded.start()
        guarded.wait_for_console("waiting 2 s before start 3 in a row")
        assert guarded.wait() == 1
        guarded.start()
        guarded.wait_until(lambda state: state.message == "waiting 4 s before start 4 in a row")
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM


def test_an_engine_that_proved_itself_starts_a_new_count(tmp_path: Path) -> None:
    guarded = GuardianProcess(tmp_path, FAKE, pace=replace(PACE, proven_s=0.1))
    with guarded:
        pid = guarded.wait_until(lambda state: state.is_proven).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert guarded.wait() == 1
        guarded.start()
        assert guarded.wait_for_phase("running").attempt == 1


def test_a_slow_start_is_told_with_the_last_log_line(tmp_path: Path) -> None:
    program = "import time; print('loading weights', flush=True); time.sleep(3600)"
    pace = replace(PACE, progress_s=0.2)
    with GuardianProcess(tmp_path, python(program), pace=pace) as guarded:
        guarded.wait_for_console(" s: loading weights\n")
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM


def test_the_engines_output_is_passed_on_unchanged_and_its_tail_is_kept(tmp_path: Path) -> None:
    program = """
import sys
for number in range(100):
    print(f"\\033[36mline {number}\\033[0m")
sys.stdout.flush()
print("to stderr, the key is sesame", file=sys.stderr, flush=True)
sys.stderr.write("no newline")
"""
    environ = {"ENGINE_API_KEY": "sesame"}
    with GuardianProcess(tmp_path, python(program), environ=environ) as guarded:
        assert guarded.wait() == 1
        assert guarded.stdout.startswith("\033[36mline 0\033[0m\n")
        assert guarded.stdout.endswith("is sesame\nno newline")
        lines = guarded.state.log_lines
        assert len(lines) == 40
        assert lines[-3:] == ("line 99", "to stderr, the key is ***", "no newline")
        assert guarded.state.last_exit is not None
        assert guarded.state.last_exit.log_lines == lines[-15:]


def test_it_serves_without_a_state_file_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with GuardianProcess(tmp_path, FAKE) as guarded:
        guarded.wait_for_console("engine: ready after ")
        pid = Control(guarded.port).read_stats().pid
        assert guarded.console.count("cannot write") == 1
        guarded.terminate()
        assert guarded.wait() == 128 + signal.SIGTERM
        assert living(pid) == []


def test_a_log_held_open_by_a_process_that_left_the_group_holds_nothing_up(tmp_path: Path) -> None:
    program = """
import subprocess
from tests.ports import free_port
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(child.pid, flush=True)
"""
    with GuardianProcess(tmp_path, python(program), pace=replace(PACE, drain_s=3)) as guarded:
        assert guarded.wait() == 1
        os.kill(int(guarded.state.log_lines[0]), signal.SIGKILL)


@pytest.mark.parametrize("garbage", ["", "{", "[]", json.dumps({"phase": "asleep"})])
def test_a_state_file_with_garbage_is_none(tmp_path: Path, garbage: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "engine.json").write_text(garbage)
    with GuardianProcess(tmp_path, python("raise SystemExit(7)")) as guarded:
        assert guarded.wait() == 1
        assert guarded.state.attempt == 1
