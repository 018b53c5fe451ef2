"""Owns the engine side beneath a server that is not supervisord's child: `serve.py`'s uvicorn.

The same supervisord with the same guardian, without the gateway. It must not know that server.
"""

from __future__ import annotations

import configparser
import io
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import Process

from launcher import console, process_group
from launcher.atomic_file import replace_file
from launcher.errors import CannotStart

log = logging.getLogger("gateway.lifecycle")

CONF = "supervisord.conf"
# It opens its socket before it starts a program: a second or so on a busy machine.
UP_TIMEOUT_S = 30.0
# supervisord kills what outlasts its stopwaitsecs (80 s for the engine).
STOP_TIMEOUT_S = 85.0
_POLL_S = 0.05
# Where the server is process 1, nobody takes in processes that lose their parent, as those of a
# killed engine do: supervisord does, once the kernel gives them to it (PR_SET_CHILD_SUBREAPER).
_SUPERVISORD = """
import ctypes
from supervisor.supervisord import main
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
main()
"""


@asynccontextmanager
async def engine_side(
    repository: Path,
    environ: Mapping[str, str],
    up_timeout_s: float = UP_TIMEOUT_S,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> AsyncIterator[None]:
    """Run the engine's supervisord for the length of the block; when it ends, nothing is left.

    It ends too when this process is killed. Raises CannotStart when it does not come up.
    """
    control = repository / "run" / "supervisor.sock"
    if _answers(control):
        raise CannotStart(f"another supervisord runs in this folder: it listens on {control}")
    async with console.openable(sys.stderr.fileno()) as output:
        process = await _start(repository, environ, output)
        try:
            await _wait_until_up(process, control, up_timeout_s)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_tell_end, process)
                yield
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process, stop_timeout_s)


def engine_only(conf: str, folder: Path) -> str:
    """Return supervisord's configuration without the gateway, fit to lie in any folder."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read_string(conf)
    parser.remove_section("program:gateway")
    text = io.StringIO()
    parser.write(text)
    return text.getvalue().replace("%(here)s", str(folder).replace("%", "%%"))


async def _start(repository: Path, environ: Mapping[str, str], output: int) -> Process:
    run = repository / "run"
    own = run / "supervisord-engine.conf"
    try:
        (run / "logs").mkdir(parents=True, exist_ok=True)
        conf = (repository / CONF).read_text(encoding="utf-8")
        replace_file(own, engine_only(conf, repository))
    except OSError as exc:
        raise CannotStart(f"no engine side: {exc}") from exc
    argv = [sys.executable, "-c", _SUPERVISORD, "--nodaemon", "--configuration", str(own)]
    # As root, supervisord wants to be told that this is meant.
    user = ["--user=root"] if os.geteuid() == 0 else []
    # This interpreter has what the launcher needs: it has what the gateway needs.
    env = {"EVALGATE_PYTHON": sys.executable, **environ}
    # A session of its own: Ctrl-C is for the server, which stops the engine after its batches.
    return await process_group.start([*argv, *user], env, output)


async def _wait_until_up(process: Process, control: Path, timeout_s: float) -> None:
    with anyio.move_on_after(timeout_s):
        while process.returncode is None:
            if _answers(control):
                return
            await anyio.sleep(_POLL_S)
    if process.returncode is None:
        raise CannotStart(f"supervisord has not opened {control} in {timeout_s:g} s")
    raise CannotStart(f"supervisord ended with {process.returncode}, see what it said above")


def _answers(control: Path) -> bool:
    """Tell whether somebody listens; a socket that a killed supervisord left refuses."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(control))
        return True
    return False


async def _tell_end(process: Process) -> None:
    code = await process.wait()
    log.critical("supervisord ended by itself with %d: nobody restarts the engine now", code)


async def _stop(process: Process, timeout_s: float) -> None:
    _signal([process.pid] if process.returncode is None else [], signal.SIGTERM)
    with anyio.move_on_after(timeout_s):
        await process.wait()
    if process.returncode is None:
        log.critical("supervisord has not ended in %g s: killing it", timeout_s)
        process.kill()
        await process.wait()
    # A guardian whose supervisord was killed is still there, and ends its engine when told to.
    if not await _is_empty(process.pid, signal.SIGTERM, timeout_s):
        await _is_empty(process.pid, signal.SIGKILL, timeout_s)


async def _is_empty(session: int, signum: signal.Signals, timeout_s: float) -> bool:
    """Signal all of a session; True once none of them is left, False when some outlast it."""
    _signal(_members(session), signum)
    deadline = anyio.current_time() + timeout_s
    while _members(session):
        if anyio.current_time() >= deadline:
            return False
        await anyio.sleep(_POLL_S)
    return True


def _members(session: int) -> list[int]:
    """Return the processes of a session: supervisord, then what it started; not the engine."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _session_of(pid) == session]


def _session_of(pid: int) -> int | None:
    stat = process_group.read_stat(pid)
    try:
        return os.getsid(pid) if stat is not None and stat.state not in "ZX" else None
    except ProcessLookupError:
        return None


def _signal(pids: Sequence[int], signum: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
