"""The engine side beneath another server: how it comes up, and what it leaves in no case."""

from __future__ import annotations

import configparser
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from launcher.errors import CannotStart
from launcher.standalone import engine_only, engine_side
from tests.chaos.polling import wait_for

pytestmark = pytest.mark.anyio
Children = Callable[[], list[psutil.Process]]

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = """\
[supervisord]
nodaemon=true
pidfile=%(here)s/run/supervisord.pid
logfile=%(here)s/run/logs/supervisord.log

[unix_http_server]
file=%(here)s/run/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[program:engine]
command=sleep 3600

[program:gateway]
command=sleep 3600
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="evalgate-") as name:  # short, for its socket
        Path(name, "supervisord.conf").write_text(CONF)
        yield Path(name)


@pytest.fixture
def children() -> Children:
    """Return what tells the processes that this test started; others on its worker have theirs."""
    others = set(psutil.Process().children(recursive=True))
    return lambda: [
        each for each in psutil.Process().children(recursive=True) if each not in others
    ]


def supervisord_among(started: list[psutil.Process]) -> psutil.Process:
    """It is the only direct child; its engine may be there already, or not yet."""
    (supervisord,) = (each for each in started if each.ppid() == os.getpid())
    return supervisord


def engine_of(supervisord: psutil.Process) -> psutil.Process:
    wait_for("the engine", lambda: len(supervisord.children()) > 0, 20)
    (engine,) = supervisord.children()
    return engine


def is_running(process: psutil.Process) -> bool:
    """A zombie has ended, and waits for a parent that need not look."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(is_so: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = anyio.current_time() + limit_s
    while not is_so():
        assert anyio.current_time() < deadline
        await anyio.sleep(0.02)


def test_the_gateway_is_left_out_and_the_folder_is_kept() -> None:
    text = engine_only((REPOSITORY / "supervisord.conf").read_text(), Path("/a folder/50%"))
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert parser.has_section("program:engine")
    assert not parser.has_section("program:gateway")
    assert parser["program:engine"]["directory"] == "/a folder/50%%"
    assert "%(here)s" not in text


async def test_it_runs_the_engine_alone_and_leaves_nothing(
    folder: Path, children: Children
) -> None:
    async with engine_side(folder, os.environ):
        supervisord = supervisord_among(children())
        engine = engine_of(supervisord)
        await until(lambda: engine.cmdline() == ["sleep", "3600"])
    assert not is_running(engine)
    assert children() == []


SPEAKING = """\
command=sh -c 'trap "echo farewell >&2; exit" TERM; echo alive >&2; sleep 3600 & wait'
stopasgroup=true
stderr_logfile=/dev/stderr
stderr_logfile_maxbytes=0"""


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes until some of it ends so, or, with no such end, until nobody is left."""
    told = b""
    while piece := connection.recv(4096):
        told += piece
        if end and told.endswith(end):
            return told
    assert not end, told
    return told


async def test_a_stderr_that_is_a_socket_gets_every_line(
    folder: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """supervisord cannot open one, as systemd's journal is, and gave its program up."""
    (folder / "supervisord.conf").write_text(CONF.replace("command=sleep 3600", SPEAKING))
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(20)
        with theirs, theirs.makefile("w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            async with engine_side(folder, os.environ):
                await anyio.to_thread.run_sync(read_until, ours, b"alive\n")
            monkeypatch.undo()
            assert children() == []
        assert b"farewell\n" in read_until(ours, b"")


async def test_supervisord_takes_in_who_lost_a_parent_and_reaps_them(
    folder: Path, children: Children
) -> None:
    """uvicorn as a container's process 1 does not, and zombies of killed engines would gather."""
    parent = "command=sh -c 'sh -c \"sleep 0.5 & echo\"; exec sleep 3600'"
    (folder / "supervisord.conf").write_text(CONF.replace("command=sleep 3600", parent))
    async with engine_side(folder, os.environ):
        supervisord = supervisord_among(children())
        log = folder / "run/logs/supervisord.log"
        await until(lambda: "reaped unknown pid" in log.read_text())
        wait_for("the engine alone", lambda: len(supervisord.children()) == 1, 10)


async def test_a_supervisord_that_hangs_is_killed_with_all_that_it_runs(
    folder: Path, children: Children, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine_side(folder, os.environ, stop_timeout_s=0.5):
        supervisord = supervisord_among(children())
        engine = engine_of(supervisord)
        supervisord.suspend()
    assert children() == []
    wait_for("the engine's end", lambda: not is_running(engine), 10)
    assert "supervisord has not ended in 0.5 s: killing it" in caplog.text


async def test_what_outlives_its_supervisord_and_ignores_sigterm_is_killed(
    folder: Path, children: Children, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = "command=sh -c 'trap \"\" TERM; while :; do sleep 1; done'"
    (folder / "supervisord.conf").write_text(CONF.replace("command=sleep 3600", stubborn))
    async with engine_side(folder, os.environ, stop_timeout_s=0.5):
        supervisord = supervisord_among(children())
        engine = engine_of(supervisord)
        wait_for("a shell with its trap", lambda: len(engine.children()) > 0, 10)
        supervisord.send_signal(signal.SIGKILL)
        await until(lambda: bool(caplog.records))
        assert "ended by itself with -9" in caplog.text
        assert is_running(engine)
    assert not is_running(engine)


async def test_a_configuration_that_supervisord_refuses_stops_the_start(
    folder: Path, children: Children
) -> None:
    (folder / "supervisord.conf").write_text("[supervisord]\nloglevel=no such level\n")
    with pytest.raises(CannotStart, match="supervisord ended with 2"):
        async with engine_side(folder, os.environ):
            raise AssertionError("it must not come up")
    assert children() == []


async def test_a_supervisord_without_a_socket_is_not_waited_for_for_ever(
    folder: Path, children: Children
) -> None:
    (folder / "supervisord.conf").write_text(CONF.replace("run/supervisor.sock", "run/other"))
    with pytest.raises(CannotStart, match="has not opened .*supervisor.sock in 1 s"):
        async with engine_side(folder, os.environ, up_timeout_s=1):
            raise AssertionError("it must not come up")
    assert children() == []


async def test_a_folder_without_a_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="supervisord.conf"):
        async with engine_side(tmp_path, os.environ):
            raise AssertionError("it must not come up")
