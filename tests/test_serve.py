"""`uvicorn serve:app`: the gateway with the engine beneath it, and nothing left behind."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest

from tests.chaos.client import Post
from tests.fakes.script import Script
from tests.fakes.script_json import to_json
from tests.serve_program import ServeProgram, serve_program

QUESTIONS = [f"question {number}" for number in range(64)]


@pytest.fixture
def program() -> Iterator[ServeProgram]:
    with serve_program("--children", "1") as prepared:
        yield prepared


def ask(program: ServeProgram) -> None:
    reply = Post(program.url, QUESTIONS).wait()
    assert reply.answers == [f"answer to: {question}" for question in QUESTIONS], reply


def test_it_serves_with_an_engine_of_its_own(program: ServeProgram) -> None:
    process = program.start()
    program.wait_until_warm()
    ask(program)
    info = json.loads(program.get("/info").body)
    assert info["engine"]["pid"] == program.engine_state()["pid"]
    names = {" ".join(each.cmdline()) for each in program.processes()}
    assert sum("supervisord-engine.conf" in name for name in names) == 1
    assert sum("-m launcher engine" in name for name in names) == 1
    assert not any("-m gateway" in name for name in names)

    process.terminate()

    assert process.wait(30) == -signal.SIGTERM  # uvicorn's way to end
    program.wait_until_gone()
    assert not (program.folder / "run/supervisor.sock").exists()


def test_an_engine_that_dies_is_started_again(program: ServeProgram) -> None:
    program.start()
    program.wait_until_warm()
    first = program.engine_state()["pid"]
    psutil.Process(first).kill()
    program.wait_for("another engine", lambda: program.engine_state()["pid"] not in (None, first))
    program.wait_until_warm()
    ask(program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_nothing_is_left(program: ServeProgram, number: signal.Signals) -> None:
    process = program.start()
    program.wait_until_warm()
    assert len(program.processes()) >= 5  # uvicorn, supervisord, guardian, engine, its child
    process.send_signal(number)
    process.wait(30)
    program.wait_until_gone()
    assert program.engine_state()["phase"] == "stopped"


def test_a_port_that_is_taken_leaves_nothing(program: ServeProgram) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = program.start(port=other.getsockname()[1])
        assert process.wait(60) != 0
    program.wait_until_gone()


def test_the_port_can_be_held_until_the_engine_is_warm() -> None:
    script = to_json(Script(startup_s=2))
    with serve_program("--script-json", script, HOLD_PORT_UNTIL_WARM="1") as program:
        program.start()
        seen: set[int] = set()

        def has_answered() -> bool:
            seen.add(program.get("/").status)
            return seen != {0}

        program.wait_for("an open port", has_answered)
        assert seen == {0, 200}


def test_sigterm_ends_the_wait_for_an_engine_that_does_not_come() -> None:
    script = to_json(Script(startup_s=3600))
    with serve_program("--script-json", script, HOLD_PORT_UNTIL_WARM="1") as program:
        process = program.start()
        program.wait_for("the engine", lambda: program.engine_state().get("phase") == "starting")
        assert program.get("/").status == 0
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
        program.wait_until_gone()


def test_a_second_one_in_the_folder_says_why_it_cannot_start(program: ServeProgram) -> None:
    first = program.start()
    program.wait_until_warm()
    second = program.start()
    assert second.wait(60) == 3
    assert "another supervisord runs in this folder" in program.told()
    ask(program)
    first.terminate()
    first.wait(30)
    program.wait_until_gone()


def test_a_bad_setting_is_told_in_one_line(program: ServeProgram) -> None:
    program.environ["TEMPERATURE"] = "3"
    assert program.start().wait(30) == 3
    lines = program.told().splitlines()
    assert lines == [
        "serve: cannot start: TEMPERATURE='3': Input should be less than or equal to 2"
    ]
