"""`python -m launcher` as a real process: output, exit codes, what is imported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.state import read_state
from tests.fakes.model_files import model_files, write_model
from tests.fakes.running import FakeEngine
from tests.launcher.guarded import wait_until_living
from tests.launcher.installs import fake_vllm
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
ARGV = (sys.executable, "-m", "launcher")


def environ(folder: Path, **settings: str) -> Mapping[str, str]:
    paths = {"EVALGATE_CACHE": str(folder / "cache"), "ENGINE_STATE_FILE": str(folder / "e.json")}
    return {**os.environ, **paths, **settings}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ARGV, *arguments],
        cwd=REPOSITORY,
        env=environ(folder, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_engine_is_served_until_sigterm(tmp_path: Path) -> None:
    port = free_port()
    settings = environ(
        tmp_path,
        ENGINE_PYTHON=str(fake_vllm(tmp_path)),
        MODEL_DIR=str(write_model(tmp_path / "m", model_files())),
        ENGINE_PORT=str(port),
    )
    argv = [*ARGV, "engine"]
    with subprocess.Popen(argv, cwd=REPOSITORY, env=settings, stderr=subprocess.PIPE) as launcher:
        assert launcher.stderr is not None
        console = ""
        while "ready after" not in console:
            line = launcher.stderr.readline().decode()
            assert line.startswith("engine: "), console + line
            console += line
        state = read_state(tmp_path / "e.json")
        assert state is not None
        assert state.pid is not None
        launcher.terminate()
        assert launcher.wait(30) == 128 + signal.SIGTERM
        wait_until_living(state.pid, 0)
    assert "engine: starting vLLM 1.2.3 on " in console


def test_an_engine_that_cannot_start_ends_with_3(tmp_path: Path) -> None:
    done = run(tmp_path, "engine", MODEL_DIR="/none")
    assert done.returncode == 3
    assert done.stderr == (
        "engine: cannot start: MODEL_DIR=/none: there is no model folder /none\n"
    )


def test_a_bad_setting_ends_with_3_and_its_line(tmp_path: Path) -> None:
    done = run(tmp_path, "engine", ENGINE_PORT="x", DTYPE="int4")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "evalgate launcher: ENGINE_PORT='x': must be an integer"
    assert len(done.stderr.splitlines()) == 2


def test_an_address_that_nobody_can_ask_ends_with_3_and_its_line(tmp_path: Path) -> None:
    done = run(tmp_path, "engine", ENGINE="external", ENGINE_URL="http://127.0.0.1:99999")
    assert done.returncode == 3
    assert done.stderr == (
        "evalgate launcher: ENGINE_URL='http://127.0.0.1:99999': "
        "must have a host, and no port or one from 1 to 65535\n"
    )


def test_the_model_folder_is_the_last_line_of_the_output(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {**model_files(), "chat_template.jinja": b"x"})
    done = run(tmp_path, "model", MODEL_DIR=str(folder))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(folder))


def test_the_pocket_model_is_trained_by_what_has_torch(tmp_path: Path) -> None:
    """It asked for a vLLM, which the base of an image with another engine has not."""
    # A copy, since an engine of this repository's own would be taken.
    shutil.copytree(REPOSITORY / "launcher", tmp_path / "copy" / "launcher")
    done = subprocess.run(
        [*ARGV, "model"],
        cwd=tmp_path / "copy",
        env=environ(tmp_path, PATH=str(tmp_path), MODEL_ID="", MODEL_DIR=""),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "has PyTorch" in done.stderr


def test_flags_are_listed_asked_once_or_again(tmp_path: Path) -> None:
    python = str(fake_vllm(tmp_path))
    first = run(tmp_path, "flags", ENGINE_PYTHON=python)
    assert first.returncode == 0
    assert {"--model", "--port", "--enforce-eager"} < set(first.stdout.split())
    assert "asking the engine" in first.stderr
    assert run(tmp_path, "flags", ENGINE_PYTHON=python).stderr == ""
    assert "asking" in run(tmp_path, "flags", "--refresh", ENGINE_PYTHON=python).stderr


def test_an_engine_that_does_not_tell_its_flags_ends_with_1(tmp_path: Path) -> None:
    done = run(tmp_path, "flags", ENGINE_PYTHON=str(fake_vllm(tmp_path, "import nothing_at_all")))
    assert (done.returncode, done.stdout) == (1, "")
    assert "No module named 'nothing_at_all'" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("evalgate launcher: the engine did not tell")


def test_chat_asks_the_engine_on_its_port(tmp_path: Path) -> None:
    with FakeEngine.start() as engine:
        settings = {"ENGINE_PORT": str(engine.port), "ENGINE_API_KEY": "key"}
        done = run(tmp_path, "chat", "hello", **settings)
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout


# Never answers; says that it was asked.
SLOW = "import time\nopen(__file__ + '.asked', 'w').close()\ntime.sleep(300)"


def wait_until_asked(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not list(folder.rglob("*.asked")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    settings = environ(tmp_path, ENGINE_PYTHON=str(fake_vllm(tmp_path, SLOW)))
    with subprocess.Popen(
        [*ARGV, "flags"],
        cwd=REPOSITORY,
        env=settings,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as launcher:
        wait_until_asked(tmp_path)
        os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does
        assert launcher.stderr is not None
        assert b"Traceback" not in launcher.stderr.read()
        assert launcher.wait(30) == 130


def test_sigterm_does_not_wait_for_the_engines_answer(tmp_path: Path) -> None:
    settings = environ(
        tmp_path,
        ENGINE_PYTHON=str(fake_vllm(tmp_path, SLOW)),
        MODEL_DIR=str(write_model(tmp_path / "m", model_files())),
    )
    with subprocess.Popen(
        [*ARGV, "engine"], cwd=REPOSITORY, env=settings, start_new_session=True
    ) as launcher:
        wait_until_asked(tmp_path)
        launcher.terminate()
        assert launcher.wait(20) == 128 + signal.SIGTERM
        wait_until_living(launcher.pid, 0)


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_an_unknown_command_is_told(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m launcher")


def test_help_names_every_command(tmp_path: Path) -> None:
    text = run(tmp_path, "--help").stdout
    assert all(name in text for name in ("engine", "model", "flags", "chat"))
    assert "--gateway" in run(tmp_path, "chat", "--help").stdout


def test_the_engine_command_waits_for_no_slow_import() -> None:
    program = (
        "import sys, launcher.__main__, launcher.guardian, launcher.plan;"
        "print({'modelscope', 'openai', 'aiohttp', 'rich', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
