"""Rows in which the real service is short of disk or files, or is told to end altogether."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.chaos.client import Post
from tests.chaos.judging import judge, wholes
from tests.chaos.polling import require
from tests.chaos.process_faults import engine_fault, kill_api_server
from tests.chaos.real import (
    QUESTIONS,
    RealService,
    chaos_stack,
    program_pid,
    undisturbed,
    wait_for_work,
)
from tests.chaos.result import Run
from tests.chaos.row import Row
from tests.e2e.stack import DEADLINE_S, Stack

FEW_FILES = 256
ENDED_S = 30.0


def disk_full(service: RealService) -> Run:
    """Fill the disk of logs and state file, then kill the engine in mid-batch."""
    stack = service.warm()
    with _full_disk(service, stack) as how:
        run = engine_fault(kill_api_server, service)
    return Run(0, note=f"{how}, then API server kill -9", recovery_s=run.recovery_s) + run


@contextmanager
def _full_disk(service: RealService, stack: Stack) -> Iterator[str]:
    """Let nothing more be written to run/; tell how."""
    if service.run_folder is None:
        with _file_size_limit(stack):
            yield "no file may grow (RLIMIT_FSIZE: nothing can be mounted here)"
        return
    filler = service.run_folder / "filler"
    _fill(filler)
    try:
        yield "full file system"
    finally:
        filler.unlink()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    require("the file system is not full", os.statvfs(filler.parent).f_bavail == 0)


@contextmanager
def _file_size_limit(stack: Stack) -> Iterator[None]:
    """Forbid the Python programs of the stack to write files; they get an error, not a signal."""
    root = psutil.Process(stack.process.pid) if stack.process is not None else None
    pids = [root.pid if root else 0, program_pid(stack, "engine"), program_pid(stack, "gateway")]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def few_files(service: RealService) -> Run:
    """Start the whole stack under `ulimit -n 256` and ask a batch."""
    service.close()  # two engines at once are too much for a small machine
    with chaos_stack(max_files=FEW_FILES) as stack:
        stack.wait_until_warm()
        limits = psutil.Process(program_pid(stack, "gateway")).rlimit(resource.RLIMIT_NOFILE)
        require(f"the limit is {limits}", limits[1] == FEW_FILES)
        answers = undisturbed(stack)
        reply = Post(stack.gateway_url, QUESTIONS[::-1]).wait()
        return judge(reply, wholes(answers[::-1]), DEADLINE_S)


def terminated(service: RealService) -> Run:
    """SIGTERM to supervisord in mid-batch: no process, socket, shared memory is left.

    The client is answered inside the grace period, or cut before a byte of its answer.
    """
    stack = service.warm()
    assert stack.process is not None
    before = _Traces(stack)
    post = Post(stack.gateway_url, QUESTIONS)
    wait_for_work(stack)
    at = time.monotonic()
    stack.process.send_signal(signal.SIGTERM)
    code = stack.process.wait(ENDED_S + 30)
    seconds = time.monotonic() - at
    reply = post.wait()
    require(f"half an answer: {reply}", reply.cut != "half an answer")
    left = before.left()
    service.close()
    require(f"left behind, exit code {code}: {left}", not left)
    note = f"ended in {seconds:.1f} s; {before.num} processes, sockets and files are gone"
    client = "answered" if reply.status == 200 else f"told {reply.status or reply.cut}"
    return Run(0, note=f"{note}; client {client}")


class _Traces:
    """What a stack has outside of its folder: processes, sockets, shared memory."""

    def __init__(self, stack: Stack) -> None:
        self._processes = stack.processes()
        require(f"only {len(self._processes)} processes", len(self._processes) >= 5)
        self._paths: set[Path] = {stack.folder / "run/supervisor.sock"}
        for process in self._processes:
            self._paths |= _sockets(process) | _shared_memory(process)
        self.num = len(self._processes) + len(self._paths)

    def left(self) -> list[str]:
        """Return what of it is still there."""
        _, alive = psutil.wait_procs(self._processes, timeout=5)
        names = [f"{process.pid} {process.name()}" for process in alive]
        return [*names, *(str(path) for path in self._paths if path.exists())]


def _sockets(process: psutil.Process) -> set[Path]:
    with suppress(psutil.Error):
        found = process.net_connections("unix")
        return {Path(str(each.laddr)) for each in found if str(each.laddr).startswith("/")}
    return set()


def _shared_memory(process: psutil.Process) -> set[Path]:
    with suppress(psutil.Error):
        paths = {Path(each.path) for each in process.memory_maps()}
        return {path for path in paths if path.parent == Path("/dev/shm")}
    return set()


ROWS = (
    Row("disk-full", "disk full for logs and state file", "real", disk_full),
    Row("supervisord-term", "SIGTERM to supervisord in mid-batch", "real", terminated),
    Row("few-files-stack", "out of file descriptors (ulimit -n 256, all)", "real", few_files),
)
