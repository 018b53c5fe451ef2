"""Owns running one program in the sandbox, from outside: order, deadline, verdict, end.

What a program prints is not kept. Whatever comes of it, nothing that it started is left.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process

from evaluator import processes
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import Outcome, SandboxFailed, Status, Told, describe_exit
from evaluator.sandbox.ways import KILL_WAIT_S, Jail, Way

MAX_OUTPUT = 64 * 1024
"""Bytes of what is told from inside; the rest is read and thrown away."""


async def run(program: str, limits: Limits, way: Way | None = None) -> Outcome:
    """Run a program; raises SandboxFailed when there was no way to."""
    return (await run_and_look(program, limits, way))[0]


async def run_and_look(
    program: str, limits: Limits, way: Way | None = None
) -> tuple[Outcome, Mapping[str, str] | None]:
    """The same, with what of the isolation held: "", or why not; None where a container did it."""
    way = way or Jail()
    name = f"evalgate-{secrets.token_hex(8)}"
    told = Told(secrets.token_hex(16))
    with _work_folder(name) as folder:
        order = json.dumps(way.order(program, told.nonce, folder, limits)).encode()
        process = await anyio.open_process(
            way.argv(name, limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=way.cwd(folder),
            env={**way.environ(), processes.MARK: name},
            start_new_session=True,
        )
        try:
            outcome = await _converse(process, order, told, limits)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, way, name)
    return outcome, told.held


@contextmanager
def _work_folder(name: str) -> Iterator[str]:
    """Only used where a program sees this machine's files; it may be another user then."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        Path(folder).chmod(0o777)
        yield folder


async def _converse(process: Process, order: bytes, told: Told, limits: Limits) -> Outcome:
    assert process.stdin is not None
    with anyio.move_on_after(limits.start_seconds) as scope:
        with suppress(anyio.BrokenResourceError):
            await process.stdin.send(order)
            await process.stdin.aclose()
        await _listen(process, told, scope, limits)
    if told.verdict is not None:
        return msgspec.structs.replace(told.verdict, seconds=_seconds(told))
    if told.started_at is None:
        await _raise(process, told, scope.cancelled_caught)
    if scope.cancelled_caught:
        what = f"was not done within {limits.seconds:g} s"
        return Outcome(status="timed out", error=what, seconds=_seconds(told))
    if not told.ended:  # a container tells by its exit code
        with anyio.move_on_after(KILL_WAIT_S):
            told.ended = describe_exit(await process.wait())
    status: Status = "killed" if told.ended.startswith("used more") else "failed"
    return Outcome(status=status, error=told.ended or "was lost", seconds=_seconds(told))


async def _listen(process: Process, told: Told, scope: anyio.CancelScope, limits: Limits) -> None:
    """Take in lines until there is a verdict, or no more can come."""
    assert process.stdout is not None
    left, seen = b"", 0
    async for chunk in process.stdout:
        seen += len(chunk)
        if seen > MAX_OUTPUT:
            left = b""
            continue
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            was_started = told.started_at is not None
            told.take(line)
            if told.started_at is not None and not was_started:
                scope.deadline = told.started_at + limits.seconds
        if told.verdict is not None or told.ended:
            return


async def _raise(process: Process, told: Told, is_late: bool) -> None:
    if is_late:
        raise SandboxFailed("the sandbox did not start its program in time")
    assert process.stderr is not None
    said = b""
    with anyio.move_on_after(1), suppress(anyio.EndOfStream):
        said = await process.stderr.receive()
    text = told.broken or " ".join(said.decode("utf-8", "replace").split())[-500:]
    raise SandboxFailed(f"the sandbox did not work: {text or told.ended or 'it told nothing'}")


def _seconds(told: Told) -> float:
    return 0.0 if told.started_at is None else anyio.current_time() - told.started_at


async def _end(process: Process, way: Way, name: str) -> None:
    # As long as it was not waited for, its number is its own.
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await way.kill(name)
    with anyio.move_on_after(KILL_WAIT_S):
        await process.wait()
    await process.aclose()


def describe(held: Mapping[str, str] | None) -> Sequence[tuple[str, str]]:
    """What does not hold, and why."""
    return [(what, why) for what, why in (held or {}).items() if why]
