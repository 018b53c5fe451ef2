"""Processes and their groups, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher import process_group
from launcher.process_group import (
    as_members,
    kill_group,
    kill_stale,
    members,
    read_stat,
    stale_group,
    start,
)
from launcher.state import EngineState, Member, boot_id
from tests.launcher.guarded import wait_until_living

# A leader with two children; it waits for them.
SHELL = "sleep 300 & sleep 300 & wait"


def spawn(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, start_new_session=True, **options)


def shared_memory() -> set[str]:
    return {file.name for file in Path("/dev/shm").iterdir()}


@pytest.fixture
def group() -> Iterator[subprocess.Popen[bytes]]:
    with spawn("sh", "-c", SHELL) as leader:
        wait_until_living(leader.pid, 3)
        yield leader
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


def state_of(pgid: int, **changes: object) -> EngineState:
    leader = read_stat(pgid)
    assert leader is not None
    fields = {
        "phase": "running",
        "pid": pgid,
        "leader_start_ticks": leader.start_ticks,
        "boot_id": boot_id(),
        **changes,
    }
    return EngineState(**fields)  # type: ignore[arg-type]


def test_a_process_is_described(group: subprocess.Popen[bytes]) -> None:
    stat = read_stat(group.pid)
    assert stat is not None
    assert (stat.pid, stat.pgrp) == (group.pid, group.pid)
    assert read_stat(2**22 + 1) is None


def test_a_name_with_parentheses_and_spaces_is_no_obstacle(tmp_path: Path) -> None:
    program = tmp_path / "a) R (b"
    program.symlink_to("/bin/sleep")
    with spawn(str(program), "300") as process:
        stat = read_stat(process.pid)
        process.kill()
        assert stat is not None
        assert stat.pgrp in (process.pid, os.getpgrp())


def test_members_are_all_living_processes_of_the_group(group: subprocess.Popen[bytes]) -> None:
    found = members(group.pid)
    assert len(found) == 3
    assert group.pid in {member.pid for member in as_members(found)}


@pytest.mark.anyio
async def test_a_zombie_counts_as_gone() -> None:
    with spawn("sleep", "300") as process:
        assert await kill_group(process.pid)  # nobody has waited for it yet
        assert members(process.pid) == ()
        assert read_stat(process.pid) is not None


@pytest.mark.anyio
async def test_the_whole_group_is_killed(group: subprocess.Popen[bytes]) -> None:
    assert await kill_group(group.pid)
    assert members(group.pid) == ()
    assert await kill_group(group.pid)


@pytest.mark.anyio
async def test_within_the_grace_a_group_may_end_by_itself(tmp_path: Path) -> None:
    done = tmp_path / "done"
    script = f"sleep 0.3; echo > {done}"
    with spawn("sh", "-c", script) as leader:
        assert await kill_group(leader.pid, grace_s=10)
        assert leader.wait() == 0
        assert done.exists()


@pytest.mark.anyio
async def test_a_resource_tracker_may_free_what_the_killed_ones_held(tmp_path: Path) -> None:
    """Shared memory of a killed engine stays in /dev/shm, which containers give 64 MB."""
    program = """
import time
from multiprocessing.shared_memory import SharedMemory
print(SharedMemory(create=True, size=1024).name, flush=True)
time.sleep(300)
"""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with spawn(sys.executable, "-c", program, **options) as leader:
        assert leader.stdout is not None
        name = leader.stdout.readline().decode().strip()
        assert name in shared_memory()
        assert await kill_group(leader.pid)
        assert name not in shared_memory()


@pytest.mark.anyio
async def test_a_process_named_like_a_tracker_is_killed_in_the_end() -> None:
    with spawn("sh", "-c", "while :; do sleep 1; done; : resource_tracker") as leader:
        assert await kill_group(leader.pid)
        assert leader.wait() == -signal.SIGKILL


@pytest.mark.anyio
async def test_a_group_that_outlasts_sigkill_is_told(
    group: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def survive(*_: int) -> None:
        """As a process does that hangs in a driver."""

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", survive)
        patch.setattr(os, "killpg", survive)
        patch.setattr(process_group, "KILL_TIMEOUT_S", 0.1)
        assert not await kill_group(group.pid)


@pytest.mark.anyio
async def test_an_engine_that_was_left_behind_is_killed(group: subprocess.Popen[bytes]) -> None:
    assert await kill_stale(state_of(group.pid))
    assert members(group.pid) == ()


@pytest.mark.anyio
async def test_children_of_a_dead_leader_prove_the_group(group: subprocess.Popen[bytes]) -> None:
    known = as_members(members(group.pid))
    state = state_of(group.pid, members=known)
    group.kill()
    group.wait()
    assert await kill_stale(state)
    assert members(group.pid) == ()


@pytest.mark.anyio
async def test_a_leader_that_nobody_waited_for_proves_the_group(
    group: subprocess.Popen[bytes],
) -> None:
    state = state_of(group.pid)
    os.kill(group.pid, signal.SIGKILL)
    wait_until_living(group.pid, 2)
    assert await kill_stale(state)
    assert members(group.pid) == ()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "changes",
    [
        {"leader_start_ticks": 1},
        {"leader_start_ticks": None},
        {"leader_start_ticks": 1, "members": (Member(1, 1),)},
        {"boot_id": "another"},
        {"pid": None},
    ],
)
async def test_a_group_that_is_not_proven_to_be_the_engines_is_left_alone(
    group: subprocess.Popen[bytes], changes: dict[str, object]
) -> None:
    assert not await kill_stale(state_of(group.pid, **changes))
    assert len(members(group.pid)) == 3


def test_what_is_left_of_an_engine_is_known_by_any_process_of_it(
    group: subprocess.Popen[bytes],
) -> None:
    known = as_members(members(group.pid))
    state = state_of(group.pid, members=known)
    assert stale_group(state) == group.pid
    group.kill()
    group.wait()
    assert stale_group(state) == group.pid
    os.killpg(group.pid, signal.SIGKILL)
    wait_until_living(group.pid, 0)
    assert stale_group(state) is None


@pytest.mark.anyio
async def test_our_own_group_is_never_killed() -> None:
    own = read_stat(os.getpid())
    assert own is not None
    members = (Member(own.pid, own.start_ticks),)
    state = EngineState(phase="running", pid=os.getpgrp(), boot_id=boot_id(), members=members)
    assert not await kill_stale(state)


@pytest.mark.anyio
async def test_nothing_left_behind_is_nothing_killed(group: subprocess.Popen[bytes]) -> None:
    state = state_of(group.pid)
    assert await kill_group(group.pid)
    group.wait()
    assert not await kill_stale(state)
    assert not await kill_stale(None)


@pytest.mark.anyio
async def test_a_started_process_leads_its_own_session_and_has_no_input(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        argv = ["sh", "-c", 'read line; echo "$NAME $line end"; echo problem >&2']
        process = await start(argv, {"NAME": "x", "PATH": os.environ["PATH"]}, file.fileno())
        assert os.getsid(process.pid) == process.pid
        assert await process.wait() == 0
    assert output.read_text() == "x  end\nproblem\n"


def test_the_kernel_ends_the_leader_when_its_parent_is_killed() -> None:
    program = """
import anyio, os
from launcher.process_group import start
async def main():
    process = await start(["sleep", "300"], os.environ, 2)
    print(process.pid, flush=True)
    await process.wait()
anyio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        leader = int(parent.stdout.readline())
        # Until then it is still the program that asks the kernel for the signal.
        deadline = time.monotonic() + 10
        while b"sleep" not in Path(f"/proc/{leader}/cmdline").read_bytes().split(b"\0")[0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.kill()
        wait_until_living(leader, 0)


def test_the_processor_time_of_a_group_is_that_of_its_members() -> None:
    own = process_group.cpu_s(os.getpgrp())
    begin = time.process_time()
    while time.process_time() < begin + 0.05:
        pass
    assert process_group.cpu_s(os.getpgrp()) > own
    assert process_group.cpu_s(2**30) == 0
