"""ENGINE=external: `launcher engine` looks at somebody else's engine, and leaves it alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.engine_port import ask_status
from launcher.state import EngineState, read_state
from tests.fakes.running import REPOSITORY, FakeEngine
from tests.fakes.script import Kind, Script

pytestmark = pytest.mark.process

DEADLINE_S = 20.0
KEY = "open-sesame"


class Looking:
    """`python -m launcher engine` in a folder of its own."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._state_file = folder / "engine.json"
        self._stderr = folder / "stderr"
        own = {
            "ENGINE": "external",
            "ENGINE_STATE_FILE": str(self._state_file),
            "WATCHDOG_INTERVAL_S": "0.05",
            "ENGINE_API_KEY": KEY,
        }
        with self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launcher", "engine"],
                cwd=REPOSITORY,
                env={**os.environ, **own, **environ},
                stderr=err,
            )

    @property
    def console(self) -> str:
        return self._stderr.read_text()

    @property
    def state(self) -> EngineState:
        state = read_state(self._state_file)
        assert state is not None, self.console
        return state

    def wait_until(self, is_so: Callable[[EngineState], bool]) -> EngineState:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            state = read_state(self._state_file)
            if state is not None and is_so(state):
                return state
            assert time.monotonic() < deadline, (state, self.console)
            assert self.process.poll() is None, self.console
            time.sleep(0.02)


@contextmanager
def looking(folder: Path, **environ: str) -> Iterator[Looking]:
    guardian = Looking(folder, environ)
    try:
        yield guardian
    finally:
        guardian.process.terminate()
        try:
            guardian.process.wait(DEADLINE_S)
        finally:
            guardian.process.kill()


def answers(state: EngineState) -> bool:
    return state.phase == "external" and state.ready_at is not None


def test_the_state_tells_whether_the_engine_answers(tmp_path: Path) -> None:
    with FakeEngine.start() as engine, looking(tmp_path, ENGINE_URL=engine.url) as mine:
        state = mine.wait_until(answers)
        assert (state.engine, state.pid, state.argv) == ("external", None, ())
        assert state.message == f"the engine at {engine.url} answers"
        engine.kill()
        gone = mine.wait_until(lambda state: state.ready_at is None)
        assert gone.message == f"the engine at {engine.url} does not answer"
        engine.start_again()
        mine.wait_until(answers)


def test_told_to_stop_it_leaves_the_engine_alone(tmp_path: Path) -> None:
    with FakeEngine.start() as engine, looking(tmp_path, ENGINE_URL=f"{engine.url}/v1/") as mine:
        mine.wait_until(answers)
        mine.process.send_signal(signal.SIGTERM)
        assert mine.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
        assert (mine.state.phase, mine.state.message) == ("stopped", "stopped by SIGTERM")
        assert engine.read_stats().pid == engine.pid
        assert KEY not in mine.console + (tmp_path / "engine.json").read_text()


@pytest.mark.parametrize(
    ("kind", "environ"),
    [
        ("triton", {}),
        ("triton", {"ENGINE_HEALTH_PATH": "/health/ready"}),
        ("generate", {"ENGINE_API": "generate"}),
    ],
)
def test_health_is_looked_for_where_such_an_engine_has_it(
    tmp_path: Path, kind: Kind, environ: dict[str, str]
) -> None:
    with (
        FakeEngine.start(Script(kind=kind)) as engine,
        looking(tmp_path, ENGINE_URL=engine.url, **environ) as mine,
    ):
        mine.wait_until(answers)


def test_an_engine_that_answers_with_an_error_is_told_as_it_is(tmp_path: Path) -> None:
    with (
        FakeEngine.start(Script(health="503")) as engine,
        looking(tmp_path, ENGINE_URL=engine.url.replace("//", "//me:secret@")) as mine,
    ):
        state = mine.wait_until(lambda state: "503" in state.message)
        assert state.message == f"the engine at {engine.url} answers its health route with 503"
        assert "secret" not in mine.console


def test_a_second_one_on_the_same_file_is_refused(tmp_path: Path) -> None:
    with (
        FakeEngine.start() as engine,
        looking(tmp_path, ENGINE_URL=engine.url) as mine,
    ):
        mine.wait_until(answers)
        second = Looking(tmp_path, {"ENGINE_URL": engine.url})
        assert second.process.wait(DEADLINE_S) == 3
        assert "another launcher runs the engine" in second.console


@pytest.mark.anyio
async def test_an_engine_behind_tls_that_is_none_does_not_answer() -> None:
    with FakeEngine.start() as engine:
        assert await ask_status(engine.url.replace("http", "https"), "/health", 5) is None


@pytest.mark.parametrize("command", ["model", "flags"])
def test_nothing_is_fetched_or_asked_for_it(command: str, tmp_path: Path) -> None:
    environ = {"ENGINE": "external", "ENGINE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "launcher", command],
        cwd=REPOSITORY,
        env={**os.environ, **environ, "EVALGATE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert "ENGINE=external" in done.stderr
    assert list(tmp_path.iterdir()) == []
