"""Also covers processes.py: what a command leaves behind is only seen when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from evaluator import processes
from evaluator.service import CannotRun, Command, running
from tests.evaluator.judging import PYTHON, is_alive

pytestmark = pytest.mark.anyio


def read_pids(log: Path) -> list[int]:
    """The numbers in lines `pid N`."""
    return [int(pid) for pid in re.findall(r"^pid (\d+)$", log.read_text(), re.MULTILINE)]


async def wait_until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - a file's content is no event
            await anyio.sleep(0.01)


async def pids_in(log: Path, count: int) -> list[int]:
    """Wait for `count` lines `pid N`."""
    await wait_until(lambda: len(read_pids(log)) >= count)
    return read_pids(log)


async def test_command_runs_in_a_shell_with_its_output_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "new" / "a.log"
    async with running("echo out; echo err >&2; cat; exit 3", log) as command:
        await command.wait()
        assert command.exit_code == 3
        assert command.find_failure() == "exit code 3"
    assert log.read_text() == "out\nerr\n"


@pytest.mark.parametrize(
    ("line", "failure"), [("true", ""), ("exit 4", "exit code 4"), ("kill -9 $$", "signal 9")]
)
async def test_how_it_ended(tmp_path: Path, line: str, failure: str) -> None:
    async with running(line, tmp_path / "a.log") as command:
        await command.wait()
        assert command.find_failure() == failure


async def test_no_failure_while_it_runs(tmp_path: Path) -> None:
    async with running("sleep 600", tmp_path / "a.log") as command:
        assert (command.exit_code, command.find_failure()) == (None, "")
    assert command.exit_code == -signal.SIGTERM


async def test_command_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotRun, match=r"cannot run `true` with its output in .*a\.log"):
        Command("true", tmp_path / "file" / "a.log")


async def test_sigterm_lets_it_clean_up(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    line = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    async with running(line, log):
        await wait_until(lambda: "ready" in log.read_text())
    assert log.read_text().splitlines()[-1] == "cleaned"


async def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    line = "trap '' TERM; echo pid $$; while :; do sleep 600; done"
    async with running(line, log, grace_s=0.3):
        (pid,) = await pids_in(log, 1)
        start = anyio.current_time()
    assert 0.3 <= anyio.current_time() - start < 5
    assert not is_alive(pid)


async def test_urgency_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    async with running("trap '' TERM; echo pid $$; sleep 600", log, is_urgent=lambda: True):
        (pid,) = await pids_in(log, 1)
    assert not is_alive(pid)


async def test_nothing_is_left_of_what_left_its_group(tmp_path: Path) -> None:
    """A daemon in a session of its own; a child of it; one that rewrote its environment."""
    log = tmp_path / "a.log"
    script = tmp_path / "daemon.sh"
    script.write_text("echo pid $$; (echo pid $BASHPID; exec sleep 600) & sleep 600")
    line = (
        f"setsid bash {script} & env -i setsid sh -c 'echo pid $$; sleep 600' & "
        "sleep 600 & echo pid $!; wait"
    )
    async with running(line, log):
        pids = await pids_in(log, 4)
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


async def test_daemon_whose_starter_is_gone_is_ended_too(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    async with running("setsid sh -c 'echo pid $$; sleep 600' &", log, grace_s=30) as command:
        (pid,) = await pids_in(log, 1)
        await command.wait()
        assert is_alive(pid)
        start = anyio.current_time()
    assert not is_alive(pid)
    assert anyio.current_time() - start < 10  # asked, not waited for


async def test_group_gets_sigterm_once_and_programs_of_a_supervisor_get_it_from_that(
    tmp_path: Path,
) -> None:
    """An engine that gets SIGTERM twice breaks off its cleaning up."""
    log = tmp_path / "a.log"
    child = tmp_path / "child.py"
    child.write_text(
        "import os, signal, sys, time\n"
        "told = []\n"
        "def hear(*_): told.append(1); os.write(1, b'term %b\\n' % sys.argv[1].encode())\n"
        "signal.signal(signal.SIGTERM, hear)\n"
        "print('pid', os.getpid(), flush=True)\n"
        "while not told: time.sleep(0.01)\n"
        "time.sleep(0.5)  # in which a second one would be heard\n"
    )
    supervisor = tmp_path / "supervisor.py"
    supervisor.write_text(
        "import subprocess, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: p.terminate())\n"
        "p = subprocess.Popen([sys.executable, *sys.argv[1:]], start_new_session=True)\n"
        "p.wait()\n"
    )
    line = f"{PYTHON} {child} member & exec {PYTHON} {supervisor} {child} supervised"
    async with running(line, log):
        await pids_in(log, 2)
    said = log.read_text()
    assert (said.count("term member"), said.count("term supervised")) == (1, 1), said


async def test_strangers_are_not_touched(tmp_path: Path) -> None:
    stranger = await anyio.open_process(["sleep", "600"])
    async with running("sleep 600", tmp_path / "a.log"):
        pass
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_cancelled_block_still_stops_the_command(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with anyio.move_on_after(30) as scope:
        async with running("echo pid $$; sleep 600", log):
            (pid,) = await pids_in(log, 1)
            scope.cancel()
            await anyio.sleep_forever()
    assert not is_alive(pid)


async def test_tail_is_the_end_of_the_log_and_no_blank_lines(tmp_path: Path) -> None:
    line = "seq 100000; printf '\\n\\nprogress 1\\rprogress 2\\377\\n'"
    async with running(line, tmp_path / "a.log") as command:
        await command.wait()
        tail = command.tail()
    assert tail.path == tmp_path / "a.log"
    assert len(tail.lines) == 20
    assert tail.lines[-3:] == ("100000", "progress 1", "progress 2�")


async def test_system_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: at least the process group is ended."""
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    log = tmp_path / "a.log"
    async with running("echo pid $$; sleep 600 & echo pid $!; wait", log):
        pids = await pids_in(log, 2)
    # Only the leader can be waited for; the others are as good as gone.
    await wait_until(lambda: not any(map(is_alive, pids)))
    async with running("trap '' TERM; echo pid $$; sleep 600", log, grace_s=0.1):
        pids = await pids_in(log, 1)
    assert not any(map(is_alive, pids))


def test_signal_to_a_process_that_is_gone_is_no_error() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    gone = processes.Process(processes.Identity(done.pid, 0), 1, done.pid, done.pid)
    processes.send(signal.SIGTERM, [gone])


def test_family_is_found_by_mark_alone() -> None:
    mark = f"test-{os.getpid()}"
    assert processes.find_family(mark, []) == []
    child = subprocess.Popen(["sleep", "600"], env={processes.MARK: mark})
    try:
        # The mark is there from exec on, which Popen waits for.
        (found,) = processes.find_family(mark, [])
        assert found.pid == child.pid
        assert processes.find_family("other", [found.identity]) == [found]
        assert processes.find_family("other", [processes.Identity(found.pid, 1)]) == []
        assert processes.heads_of([found]) == [found]
    finally:
        child.kill()
        child.wait()
