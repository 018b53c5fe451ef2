"""The service with the real engine: one stack shared by many rows, started when first asked for.

Must not know a fault.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

import psutil

from launcher.outcome import MAX_QUICK_ENDS
from launcher.pocket import PAIRS, load_pairs
from tests.chaos.client import is_ready, metric
from tests.chaos.polling import require, wait_for
from tests.e2e.stack import PATIENCE, REPOSITORY, Stack, running_stack

LEARNT = {pair.question: pair.answer for pair in load_pairs(PAIRS)}
# As many as the evaluator's larger set holds.
NUM_PROMPTS = 358
QUESTIONS = list(islice(cycle(LEARNT), NUM_PROMPTS))
# The watchdog's default is longer; a row should not wait for it.
STALL_S = 15.0
# The gateway's GRACE_PERIOD_S.
GRACE_S = 20.0
WARM_AGAIN_S = 150.0 * PATIENCE
# More than the logs may come to before they are turned over.
RUN_BYTES = "160m"


class RealService:
    """Owns the shared stack and the answers of its undisturbed run.

    A stack that is lent to it, warm, is used until it does not get ready again; its owner ends it.
    """

    def __init__(self, lent: Stack | None = None) -> None:
        self._exit = ExitStack()
        self._stack = lent
        self.answers = [] if lent is None else undisturbed(lent)
        self.run_folder: Path | None = None
        """A small file system that run/ of the stack is in; None where none can be mounted."""

    def warm(self) -> Stack:
        """Return the stack, ready; start it, again if it does not get ready by itself."""
        if self._stack is not None:
            with suppress(AssertionError):
                self._stack.wait_for("warmth", lambda: is_warm(self.stack), WARM_AGAIN_S)
                wait_for_proof(self._stack)
                return self._stack
            self.close()
        self._start()
        return self.stack

    @property
    def stack(self) -> Stack:
        """The stack that was started."""
        assert self._stack is not None
        return self._stack

    def close(self) -> None:
        """End the stack, if there is one."""
        self._stack = None
        self._exit.close()

    def _start(self) -> None:
        # Whatever is missing is made here, not in the time that a start may take.
        subprocess.run(["scripts/prepare"], cwd=REPOSITORY, check=True)
        self.run_folder = self._exit.enter_context(small_file_system())
        self._stack = self._exit.enter_context(chaos_stack(run_folder=self.run_folder))
        self._stack.wait_until_warm()
        self.answers = undisturbed(self._stack)


def undisturbed(stack: Stack) -> list[str]:
    """Return the answers of a run without a fault, which must be what the model has learnt."""
    answers: list[str] = stack.predict(QUESTIONS)
    learnt = [LEARNT[question] for question in QUESTIONS]
    require("the undisturbed run's answers are not those learnt", answers == learnt)
    return answers


@contextmanager
def chaos_stack(*, run_folder: Path | None = None, max_files: int | None = None) -> Iterator[Stack]:
    """Run a stack with short waits; it ends with the block, whatever is left of it."""
    environ = {"WATCHDOG_STALL_S": str(STALL_S), "GRACE_PERIOD_S": str(GRACE_S)}
    with running_stack(run_folder, max_files, **environ) as stack:
        yield stack


@contextmanager
def small_file_system() -> Iterator[Path | None]:
    """Mount a file system of a few megabytes; None where this process may not."""
    with tempfile.TemporaryDirectory(prefix="evalgate-run-") as name:
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={RUN_BYTES}", "none", name]
        if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode != 0:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def is_warm(stack: Stack) -> bool:
    """Whether `GET /` says 200."""
    return is_ready(stack.gateway_url)


def engine_pid(stack: Stack) -> int:
    """Return the pid of the engine's API server, 0 when there is none.

    Not from the state file: that cannot be written while the disk is full.
    """
    with suppress(psutil.Error, subprocess.SubprocessError, ValueError):
        for child in psutil.Process(program_pid(stack, "engine")).children():
            if "api_server" in " ".join(child.cmdline()):
                return child.pid
    return 0


def wait_for_proof(stack: Stack) -> None:
    """Have an engine live as long as proves it, where the next end in a row changes the ladder.

    Rows kill engines faster than the ladder allows; each is to find one as it was configured.
    """
    state = stack.engine_state()
    if state["quick_ends"] >= MAX_QUICK_ENDS - 1:
        stack.wait_for("proof", lambda: bool(stack.engine_state()["is_proven"]), WARM_AGAIN_S)


def num_losses(stack: Stack) -> float:
    """How often the gateway has seen a ready engine go."""
    return metric(stack.gateway_url, "evalgate_engine_losses_total")


def in_flight(stack: Stack) -> float:
    """How many prompts the gateway has at the engine."""
    return metric(stack.gateway_url, "evalgate_prompts_in_flight")


def at_engine(stack: Stack) -> float:
    """How many requests the engine works on or has waiting."""
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    return sum(metric(stack.engine_url, name) for name in names)


def wait_for_work(stack: Stack) -> None:
    """Block until a batch is well under way, at the gateway and in the engine."""
    wait_for("prompts in flight", lambda: in_flight(stack) > 50, 60)
    running = "vllm:num_requests_running"
    wait_for("work in the engine", lambda: metric(stack.engine_url, running) > 0, 60)


def engine_core(stack: Stack) -> psutil.Process | None:
    """Find the process that schedules: the API server's child. None when there is none."""
    pid = engine_pid(stack)
    return _spawned(psutil.Process(pid)) if pid else None


def engine_worker(stack: Stack) -> psutil.Process | None:
    """Find the process that computes: EngineCore's child. None when EngineCore computes."""
    core = engine_core(stack)
    return _spawned(core) if core is not None else None


def _spawned(parent: psutil.Process) -> psutil.Process | None:
    """Return a child that multiprocessing spawned; vLLM gives it a title where it can."""
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline())
            if "VLLM::" in line or "spawn_main" in line:
                return child
    return None


def program_pid(stack: Stack, program: str) -> int:
    """Return the pid of one of supervisord's programs."""
    return int(stack.supervisorctl("pid", program))
