"""A program for tests: the guardian on the plan that its one argument, a JSON object, describes.

`GuardianProcess` runs it and looks at it as supervisord and the gateway would: from outside.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import psutil
from typing_extensions import Self

from launcher import guardian, process_group, scratch
from launcher.engines import vllm
from launcher.engines.base import EnginePlan
from launcher.engines.vllm_errors import read_symptom, tells_death
from launcher.engines.vllm_metrics import read_counters
from launcher.errors import CannotStart
from launcher.ladder import Rung
from launcher.overseer import Pace
from launcher.settings import LauncherSettings, load_settings
from launcher.state import EngineState, read_state
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
# Quick enough for a test; the ends of the group keep their real times.
PACE = Pace(poll_s=0.05, progress_s=60.0, port_wait_s=1.0)
DEADLINE_S = 30.0
KNOWN_FLAGS = vllm.STABLE_FLAGS | {vllm.MODEL_IMPL}
POLL_S = 0.02


class GuardianProcess:
    """A guardian with its engine. Whatever a test does, its exit leaves neither."""

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        *,
        pace: Pace = PACE,
        environ: Mapping[str, str] | None = None,
        failure: str = "",
        plan_s: float = 0.0,
        padding_bytes: int = 0,
        file_limit_bytes: int | None = None,
        is_wrapper: bool = False,
        outlasts_sigkill: bool = False,
    ) -> None:
        self.port = free_port()
        self.state_file = folder / "run" / "engine.json"
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self._argv = [part.replace("PORT", str(self.port)) for part in argv]
        settings = {
            "ENGINE_STATE_FILE": str(self.state_file),
            "ENGINE_PORT": str(self.port),
            **(environ or {}),
        }
        self._job = {
            "settings": settings,
            "pace": asdict(pace),
            "argv": self._argv,
            "failure": failure,
            "plan_s": plan_s,
            "padding_bytes": padding_bytes,
            "file_limit_bytes": file_limit_bytes,
            "is_wrapper": is_wrapper,
            "outlasts_sigkill": outlasts_sigkill,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def start(self) -> Self:
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher.guarded", json.dumps(self._job)],
                cwd=REPOSITORY,
                stdout=out,
                stderr=err,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def console(self) -> str:
        return self._stderr.read_text()

    @property
    def state(self) -> EngineState:
        state = read_state(self.state_file)
        assert state is not None, self.console
        return state

    def wait_until(self, is_so: Callable[[EngineState], bool]) -> EngineState:
        """The first state of this guardian for which `is_so`."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            has_ended = self.process.poll() is not None
            state = read_state(self.state_file)
            if state is not None and state.guardian_pid == self.process.pid:
                if state.pid is not None:
                    self._groups.add(state.pid)
                if is_so(state):
                    return state
            assert time.monotonic() < deadline, f"{state}\n{self.console}"
            assert not has_ended, f"{state}\n{self.console}"
            time.sleep(POLL_S)

    def wait_for_phase(self, phase: str) -> EngineState:
        return self.wait_until(lambda state: state.phase == phase)

    def wait_for_console(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.console:
            assert time.monotonic() < deadline, self.console
            time.sleep(POLL_S)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if (state := read_state(self.state_file)) is not None:
            scratch.remove(state.scratch_dir)


def living(pgid: int) -> list[psutil.Process]:
    """The processes of a group, zombies not counted."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def wait_until_living(pgid: int, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(living(pgid)) != count:
        assert time.monotonic() < deadline, living(pgid)
        time.sleep(POLL_S)


def main(job: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO, format="engine: %(message)s")
    if (limit := job["file_limit_bytes"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    settings = load_settings(job["settings"])
    if job["outlasts_sigkill"]:
        process_group.kill_group = _kill_in_vain

    async def plan_engine(rung: Rung) -> EnginePlan:
        await anyio.sleep(job["plan_s"])
        if job["failure"]:
            raise CannotStart(job["failure"])
        return plan_program(job, settings, rung)

    return anyio.run(guardian.run, settings, plan_engine, Pace(**job["pace"]))


async def _kill_in_vain(pgid: int, grace_s: float = 0.0) -> bool:
    """End nothing, as where a process hangs in a driver."""
    return not process_group.members(pgid)


def plan_program(job: dict[str, Any], settings: LauncherSettings, rung: Rung) -> EnginePlan:
    """The plan of a program in vLLM's place, on a rung: with vLLM's arguments, words and counts."""
    argv = vllm.on_rung(job["argv"], rung, KNOWN_FLAGS)
    return EnginePlan(
        title="a fake engine",
        argv=argv,
        env={**os.environ, "PADDING": "x" * job["padding_bytes"]},
        base_url=settings.engine_url,
        health_path="/health",
        is_wrapper=job["is_wrapper"],
        model_dir="/models/fake",
        versions={"vllm": "0"},
        rung=rung.name,
        configuration=" ".join(job["argv"]),
        capacity=vllm.capacity(argv, KNOWN_FLAGS),
        read_counters=read_counters,
        canary=vllm.canary(settings),
        read_symptom=read_symptom,
        tells_death=tells_death,
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
