"""The way through containers, with a runtime that only pretends; the real one needs an image."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from evaluator.sandbox import running
from evaluator.sandbox.container import Container
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import SandboxFailed
from tests.fakes.interpreters import executable

pytestmark = pytest.mark.anyio

# Runs what stands behind the image; `rm` is remembered.
RUNTIME = """
if [ "$1" = rm ]; then echo "$*" >>"$0.log"; exit 0; fi
while [ "$1" != image ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return executable(tmp_path / "runtime", RUNTIME)


async def test_program_runs_and_its_container_is_removed(runtime: Path) -> None:
    container = Container("image", str(runtime))
    outcome, held = await running.run_and_look("assert 1 == 1", Limits(), container)
    assert (outcome.status, held) == ("passed", None)
    outcome = await running.run("assert 1 == 2, 'no'", Limits(), container)
    assert outcome.error == "AssertionError: no"
    assert log_of(runtime).count("rm --force evalgate-") == 2


def log_of(runtime: Path) -> str:
    return runtime.with_name("runtime.log").read_text()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (
            137,
            "killed",
            "used more memory or processor time than it may, or was killed from outside",
        ),
        (3, "failed", "ended before its tests did (exit code 3)"),
    ],
)
async def test_exit_code_of_a_container_tells(
    runtime: Path, code: int, status: str, error: str
) -> None:
    program = f"import os\nos._exit({code})"
    outcome = await running.run(program, Limits(), Container("image", str(runtime)))
    assert (outcome.status, outcome.error) == (status, error)


async def test_runtime_that_hangs_is_not_waited_for_without_end(tmp_path: Path) -> None:
    hanging = executable(tmp_path / "runtime", "exec sleep 600")
    with anyio.fail_after(60):
        await Container("image", str(hanging)).kill("name")


async def test_runtime_that_refuses_says_why(tmp_path: Path) -> None:
    refusing = executable(tmp_path / "runtime", "echo no such image >&2; exit 125")
    with pytest.raises(SandboxFailed, match="no such image"):
        await running.run("pass", Limits(), Container("image", str(refusing)))


def test_container_gets_no_network_and_the_limits() -> None:
    limits = Limits(seconds=7.5, memory_bytes=100, disk_bytes=200, open_files=30, processes=4)
    argv = Container("image", "podman").argv("name", limits)
    assert argv[:2] == ["podman", "run"]
    for word in (
        *("--network=none", "--read-only", "--cap-drop=ALL", "--pull=never", "--name=name"),
        *("--memory=100", "--memory-swap=100", "--pids-limit=4", "--user=65534:65534"),
        *("--ulimit=cpu=9:10", "--ulimit=nofile=30:30", "--stop-timeout=0"),
        "--tmpfs=/tmp:rw,nosuid,nodev,size=200,mode=1777",
    ):
        assert word in argv[: argv.index("image")]


def test_no_runtime_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxFailed, match="no podman and no docker here"):
        Container("image")
    executable(tmp_path / "docker", "exit 0")
    assert Container("image").runtime == str(tmp_path / "docker")
