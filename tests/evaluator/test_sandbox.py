"""What the sandbox contains: each of these programs does harm where there is no sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from evaluator.sandbox import running
from evaluator.sandbox.limits import MIB, Limits
from evaluator.sandbox.outcome import Outcome, SandboxFailed
from evaluator.sandbox.ways import ENVIRON, Jail
from tests.evaluator.judging import REPOSITORY

pytestmark = pytest.mark.anyio

SHORT = Limits(seconds=1.0)
FORGED = """
import os
for descriptor in range(64):
    try:
        os.write(descriptor, b'\\n{"error": null}\\n{"nonce": "", "error": null}\\n')
    except OSError:
        pass
"""


# Valid so far, and deeper than a JSON reader goes.
DEEP = """
import os
for descriptor in range(3, 10):
    try:
        os.write(descriptor, b"\\n" + b"[" * 60_000 + b"\\n")
    except OSError:
        pass
"""


async def run(program: str, limits: Limits | None = None) -> Outcome:
    """Run a program, and see that nothing of it is left."""
    before = children()
    outcome = await running.run(program, limits or Limits())
    assert children() == before
    return outcome


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def test_right_program_passes_under_full_isolation() -> None:
    outcome, held = await running.run_and_look("assert 1 + 1 == 2", Limits())
    assert (outcome.status, outcome.error) == ("passed", "")
    assert held is not None
    assert set(held.values()) == {""}, held
    assert len(held) == 5


async def test_wrong_program_fails_with_its_error() -> None:
    outcome = await run("assert 1 + 1 == 3, 'no'")
    assert (outcome.status, outcome.error) == ("failed", "AssertionError: no")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("this is no Python", "SyntaxError"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os\nos._exit(0)", "ended before its tests did (exit code 0)"),
        ("import os\nos.abort()", "ended before its tests did (signal 6)"),
        ("class E(Exception):\n def __str__(self): raise E\nraise E", "E"),
        (FORGED + "os._exit(0)", "ended before its tests did"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
    ],
)
async def test_end_without_a_verdict_is_no_pass(program: str, error: str) -> None:
    outcome = await run(program)
    assert outcome.status == "failed"
    assert outcome.error.startswith(error)


async def test_deep_line_is_no_verdict() -> None:
    """It ended the whole scoring, with a RecursionError."""
    assert (await run(DEEP)).status == "passed"
    assert (await run(f"{DEEP}\nos._exit(0)")).status == "failed"


async def test_error_without_words_names_its_line() -> None:
    program = "def check(f):\n    assert f(1) == 2\n\ncheck(lambda x: x)"
    assert (await run(program)).error == "AssertionError: assert f(1) == 2"


async def test_endless_loop_is_ended() -> None:
    start = time.monotonic()
    outcome = await run("while True: pass", SHORT)
    assert outcome.status == "timed out"
    assert SHORT.seconds <= outcome.seconds < SHORT.seconds + 5
    assert time.monotonic() - start < 30


async def test_loop_that_swallows_everything_is_ended() -> None:
    program = "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    assert (await run(program, SHORT)).status == "timed out"


async def test_processor_time_is_limited() -> None:
    """More than the clock shows, by several processes; here the limit is brought near."""
    program = """
import resource
hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
assert hard == 13, hard
resource.setrlimit(resource.RLIMIT_CPU, (1, hard))
while True: pass
"""
    outcome = await run(program)
    assert (outcome.status, outcome.error) == ("killed", "used more processor time than it may")


async def test_sleeper_is_ended() -> None:
    assert (await run("import time\ntime.sleep(1000)", SHORT)).status == "timed out"


async def test_fork_bomb_is_contained() -> None:
    program = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    assert (await run(program, SHORT)).status == "timed out"


async def test_number_of_processes_is_limited() -> None:
    program = """
import os, time
for count in range(100):
    try:
        if os.fork() == 0: time.sleep(1000)
    except OSError:
        raise Exception(count)
"""
    outcome = await run(program, Limits(processes=5))
    assert outcome.error in {f"Exception: {count}" for count in range(2, 6)}


async def test_number_of_threads_is_limited() -> None:
    program = """
import threading, time
for count in range(100):
    threading.Thread(target=time.sleep, args=(1000,)).start()
"""
    outcome = await run(program, Limits(processes=5))
    assert outcome.error.startswith("RuntimeError: can't start new thread")


async def test_daemon_that_leaves_its_session_is_ended() -> None:
    program = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(1000)
    os._exit(0)
"""
    assert (await run(program)).status == "passed"


async def test_end_of_a_child_is_no_verdict() -> None:
    program = "import os, time\nif os.fork(): time.sleep(0.3); assert False, 'parent'"
    assert (await run(program)).error == "AssertionError: parent"


async def test_memory_of_one_process_is_limited() -> None:
    outcome = await run("x = bytearray(400 * 1024 * 1024)", Limits(memory_bytes=256 * MIB))
    assert (outcome.status, outcome.error) == (
        "failed",
        "MemoryError: x = bytearray(400 * 1024 * 1024)",
    )


async def test_memory_of_all_processes_together_is_limited() -> None:
    program = """
import os, time
for _ in range(7):
    if os.fork() == 0: break
hog = bytearray(80 * 1024 * 1024)
time.sleep(1000)
"""
    outcome = await run(program, Limits(memory_bytes=256 * MIB))
    assert (outcome.status, outcome.error) == ("killed", "used more memory than it may")


async def test_network_call_goes_nowhere() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        address = server.getsockname()
        program = f"import socket\nsocket.create_connection({address!r}, 2)"
        outcome = await run(program)
        assert outcome.status == "failed"
        assert "unreachable" in outcome.error
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_abstract_socket_of_this_machine_is_not_reached() -> None:
    name = f"\0evalgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        program = f"import socket\nsocket.socket(socket.AF_UNIX).connect({name!r})"
        assert (await run(program)).error.startswith("ConnectionRefusedError")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine may write: pytest's own are its user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        secret = Path(folder, "secret")
        secret.write_text("secret")
        secret.chmod(0o644)
        yield Path(folder)
        assert [path.name for path in Path(folder).iterdir()] == ["secret"]


async def test_write_outside_does_not_arrive(open_folder: Path) -> None:
    folder = str(open_folder)
    program = f"import os\nos.makedirs({folder!r}, exist_ok=True)\nopen({folder!r} + '/new', 'w')"
    assert (await run(program)).error == ""
    assert (await run("open('/usr/evalgate', 'w')")).error.startswith("OSError: [Errno 30]")


async def test_file_of_this_machine_is_not_read(open_folder: Path) -> None:
    for path in (open_folder / "secret", Path("/etc/passwd"), REPOSITORY / "README.md"):
        assert (await run(f"open({str(path)!r})")).error.startswith("FileNotFoundError")


async def test_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "zebra")
    program = """
import os, pathlib
found = [str(dict(os.environ))]
for path in pathlib.Path("/proc").glob("*/environ"):
    try: found.append(path.read_text())
    except OSError: pass
assert "zebra" not in str(found), "has read it"
assert len(found) > 1, "has read no environment at all"
raise Exception(sorted(os.environ))
"""
    assert (await run(program)).error == f"Exception: {sorted(ENVIRON)}"


async def test_no_other_process_is_seen() -> None:
    program = f"""
import os
seen = [name for name in os.listdir("/proc") if name.isdigit()]
assert sorted(seen) == ["1", "2"], seen
for pid in (1, os.getppid(), {os.getpid()}):
    try: os.kill(pid, 9)
    except OSError: pass
"""
    outcome = await run(program)
    assert (outcome.status, outcome.error) == ("passed", "")


async def test_program_that_kills_all_it_can_ends_only_itself() -> None:
    outcome = await run("import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)\nos.kill(0, 9)")
    assert outcome.status == "failed"


async def test_no_privileges_are_left_nor_can_be_had() -> None:
    program = """
import ctypes, os
status = open("/proc/self/status").read()
assert "CapEff:\\t0000000000000000" in status and "CapBnd:\\t0000000000000000" in status, status
assert os.getuid() != 0
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == -1, "a user namespace of its own"
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, b"") == -1
"""
    assert (await run(program)).error == ""


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("open('/tmp/written', 'wb').write(bytes(9 * 1024 * 1024))", "OSError: [Errno 27]"),
        (
            "for i in range(9): open(f'/tmp/{i}', 'wb').write(bytes(1024 * 1024))",
            "OSError: [Errno 28]",
        ),
        ("kept = [open(f'/tmp/{i}', 'w') for i in range(99)]", "OSError: [Errno 24]"),
    ],
)
async def test_files_are_limited(program: str, error: str) -> None:
    outcome = await run(program, Limits(disk_bytes=8 * MIB))
    assert outcome.error.startswith(error)


async def test_work_folder_is_empty_and_writable() -> None:
    program = """
import os, tempfile
assert os.getcwd() == "/tmp" and "left" not in os.listdir(".")
with tempfile.TemporaryDirectory() as folder: open(f"{folder}/x", "w").write("x")
"""
    for _ in range(2):
        assert (await run(program + "open('left', 'w')")).error == ""


async def test_megabytes_of_output_cost_nothing() -> None:
    program = "import sys\nfor _ in range(64): print('x' * 2**20); sys.stderr.write('y' * 2**20)"
    before = psutil.Process().memory_info().rss
    assert (await run(program)).status == "passed"
    assert psutil.Process().memory_info().rss - before < 32 * MIB


async def test_megabytes_where_the_verdict_goes_are_thrown_away() -> None:
    program = """
import os
for descriptor in range(3, 10):
    try:
        for _ in range(200): os.write(descriptor, b"x" * 100_000)
    except OSError: pass
"""
    before = psutil.Process().memory_info().rss
    assert (await run(program)).status == "failed"
    assert psutil.Process().memory_info().rss - before < 8 * MIB


async def test_what_catches_system_exit_is_ended_in_time() -> None:
    program = "import sys\nwhile True:\n  try: sys.exit(0)\n  except SystemExit: pass"
    assert (await run(program, SHORT)).status == "timed out"


async def test_exit_handler_has_no_say() -> None:
    program = "import atexit, time\natexit.register(time.sleep, 1000)"
    assert (await run(program)).status == "passed"


async def test_cancelled_run_leaves_nothing() -> None:
    before = children()
    with anyio.move_on_after(0.7) as scope:
        await running.run("while True: pass", Limits())
    assert scope.cancelled_caught
    assert children() == before


async def test_killed_evaluator_leaves_nothing() -> None:
    program = (
        "import anyio\nfrom evaluator.sandbox import running\nfrom evaluator.sandbox.limits "
        "import Limits\nanyio.run(running.run, 'while True: pass', Limits(seconds=100))"
    )
    argv = [sys.executable, "-c", program]
    evaluator = subprocess.Popen(argv, cwd=REPOSITORY)  # noqa: ASYNC220 - it is killed, not awaited
    await until(lambda: len(family_of(evaluator.pid)) == 3)
    family = family_of(evaluator.pid)
    # By then it is another user's, of whose parent's end the kernel knows nothing any more.
    await until(lambda: family[-1].cpu_times().user > 0.5)
    evaluator.kill()
    evaluator.wait()
    await until(lambda: not any(process.is_running() for process in family))


def family_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def until(is_so: Callable[[], bool], limit_s: float = 20.0) -> None:
    with anyio.fail_after(limit_s):
        while not is_so():  # noqa: ASYNC110 - other processes' doings are no event
            await anyio.sleep(0.02)


class Broken(Jail):
    """A jail whose order is changed."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def order(self, program: str, nonce: str, folder: str, limits: Limits) -> dict[str, Any]:
        return {**super().order(program, nonce, folder, limits), **self._changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"python": "/no/python"}, "No such file or directory: '/no/python'"),
        ({"parent": 1}, "it told nothing"),
        ({"limits": {}}, "KeyError"),
    ],
)
async def test_sandbox_that_does_not_work_says_so(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SandboxFailed, match="the sandbox did not work") as failed:
        await running.run("pass", Limits(), Broken(**changes))
    assert says in str(failed.value)


async def test_sandbox_that_does_not_start_in_time_says_so() -> None:
    with pytest.raises(SandboxFailed, match="did not start its program in time"):
        await running.run("pass", Limits(start_seconds=0.01))


# A user namespace whose root may make no namespaces, as in most containers.
CONFINED = """
echo 0 >/proc/sys/user/max_user_namespaces &&
exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$@"
"""


class Confined(Jail):
    """A jail where there is none to be had."""

    def argv(self, name: str, limits: Limits) -> list[str]:
        confined = ["unshare", "--user", "--map-root-user", "sh", "-c", CONFINED, "sh"]
        return [*confined, *super().argv(name, limits)]


async def test_what_cannot_be_had_is_told() -> None:
    outcome, held = await running.run_and_look("pass", Limits(), Confined())
    assert outcome.status == "passed"
    assert held is not None
    assert held["no network"] != ""
    assert held["no other processes in sight"] == held["no network"]
    told = dict(running.describe(held))
    assert told["no other files in sight"] == "needs namespaces"
    assert told["memory of all its processes together"] == "needs a /proc of its own"


@pytest.mark.parametrize(
    ("last", "status"), [("pass", "passed"), ("while True: pass", "timed out")]
)
async def test_nothing_is_left_where_no_namespace_ends_it(last: str, status: str) -> None:
    seconds = f"1000.{os.getpid()}"  # no other test's
    program = f"""
import subprocess
subprocess.Popen(["sleep", "{seconds}"], start_new_session=True)
{last}
"""
    assert (await running.run(program, Limits(seconds=1), Confined())).status == status
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", seconds] not in commands


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_a_python_that_nobody_can_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            closed = folder  # where pytest keeps its own
    ask = f"""
import os
from evaluator.sandbox import jail
os.setresuid(65534, 65534, 65534)
print(jail.find_closed("{tmp_path}/closed/bin/python"), jail.find_closed("/usr/bin/python3"))
"""
    done = await anyio.run_process([sys.executable, "-c", ask], cwd=REPOSITORY)
    assert done.stdout.decode().split() == [str(closed), "None"]
