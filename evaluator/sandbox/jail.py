"""The process around one program: leaves the machine's namespaces, sets limits, starts it, waits.

`python -m evaluator.sandbox.jail` takes its order from standard input and tells on standard output
what of the isolation could be had, then how the program ended. Standard library only. Three
processes: this one; the first of the new process namespace, whose end kills all others in it; the
program.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from evaluator.processes import MARK
from evaluator.sandbox import linux, root_folder

NETWORK, PROCESSES, FILES, USER, TOTAL_MEMORY = (
    "no network",
    "no other processes in sight",
    "no other files in sight",
    "no rights of a superuser",
    "memory of all its processes together",
)
"""What may hold, or not."""
NOBODY = 65534
POLL_S = 0.02
_NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)
_OWN_PROCESSES = 2
"""This one and the first of the namespace are the same user's."""


def main() -> int:
    """Run the program of the order; return 0 when it could be started."""
    order = json.loads(sys.stdin.buffer.read())
    linux.die_with_parent()
    if os.getppid() != order["parent"]:
        return 1  # it ended before the line above
    held: dict[str, str] = {}
    has_namespaces = _try(held, NETWORK, _leave_namespaces)
    held[PROCESSES] = held[NETWORK]
    parent_lives, kept = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(kept)
        _as_first(order, held, has_namespaces, parent_lives)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _leave_namespaces() -> None:
    if os.geteuid() == 0:
        with suppress(PermissionError):  # root of a container may be allowed the other way
            linux.unshare(_NAMESPACES)
            return
    linux.unshare(_NAMESPACES | linux.CLONE_NEWUSER)
    _map_own_user()


def _map_own_user() -> None:
    uid, gid = os.geteuid(), os.getegid()
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _as_first(
    order: dict[str, Any], held: dict[str, str], has_namespaces: bool, parent_lives: int
) -> None:
    """Be the first process of the namespace; never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _isolate(order, held, has_namespaces)
        # Not before: the kernel forgets it when a process becomes another user.
        linux.die_with_parent()
        if _has_ended(parent_lives):
            os._exit(1)  # before the line above
        _tell({"nonce": order["nonce"], "held": held})
        folder = order["folder"] if held[FILES] else root_folder.WORK_FOLDER
        memory_bytes = 0 if held[TOTAL_MEMORY] else order["limits"]["memory_bytes"]
        # A namespace ends all that is in it; where there is none, it has to be found.
        mark = {} if has_namespaces else {MARK: os.environ.get(MARK, "")}
        ended = _watch(_start(order, folder, {**order["environ"], **mark}), memory_bytes)
        _tell({"nonce": order["nonce"], **ended})
        os._exit(0)
    except BaseException as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        os._exit(1)


def _isolate(order: dict[str, Any], held: dict[str, str], has_namespaces: bool) -> None:
    def change_root() -> None:
        if not has_namespaces:
            raise OSError("needs namespaces")
        if not root_folder.enter(order["readable"], order["limits"]["disk_bytes"]):
            held[TOTAL_MEMORY] = "no /proc can be mounted here"

    os.umask(0o022)  # what is made for the program has to be open to it, whatever root's own is
    held[TOTAL_MEMORY] = ""
    if not _try(held, FILES, change_root):
        held[TOTAL_MEMORY] = "needs a /proc of its own"
    held[USER] = ""
    if os.geteuid() == 0:
        _try(held, USER, _become_nobody)
    closed = find_closed(order["python"])
    if closed is not None:
        raise PermissionError(
            f"programs run as nobody, who may not enter {closed}, where this Python lies: use one "
            "that lies elsewhere (EVALGATE_CACHE names where environments are made)"
        )
    # From here on nothing of this process may be read by the program, which is the same user.
    linux.set_dumpable(False)


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # In a user namespace of its own the limit of processes counts this sandbox's alone.
    with suppress(OSError):
        linux.set_dumpable(True)  # or its files in /proc are still root's
        linux.unshare(linux.CLONE_NEWUSER)
        _map_own_user()


def _has_ended(pipe: int) -> bool:
    """Whether nobody holds the other end; a parent outside the namespace has no number here."""
    return bool(select.select([pipe], [], [], 0)[0])


def find_closed(path: str) -> str | None:
    """Return the first folder on the way there that this process may not enter."""
    folders = [Path(path).parent, *Path(path).parent.resolve().parents]
    closed = (each for each in reversed(folders) if each.is_dir() and not os.access(each, os.X_OK))
    return next(map(str, closed), None)


def _try(held: dict[str, str], what: str, work: Callable[[], object]) -> bool:
    """Keep "" for what holds, else why it does not."""
    try:
        work()
    except (OSError, ValueError) as exc:
        held[what] = str(exc)
        return False
    held[what] = ""
    return True


def _start(order: dict[str, Any], folder: str, environ: dict[str, str]) -> int:
    content = json.dumps({"nonce": order["nonce"], "program": order["program"]}).encode()
    source = os.memfd_create("order")
    os.write(source, content)
    os.lseek(source, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            linux.die_with_parent()  # where there was no namespace to be had
            _renounce(order["limits"])
            os.chdir(folder)
            os.dup2(source, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            argv = [order["python"], "-I", "-B", "-c", order["runner"]]
            os.execve(argv[0], argv, environ)
        except BaseException as exc:
            _tell({"nonce": order["nonce"], "broken": f"{type(exc).__name__}: {exc}"})
        finally:
            os._exit(127)
    os.close(source)
    return pid


def _renounce(limits: dict[str, Any]) -> None:
    _forbid_more_namespaces()
    linux.renounce_privileges()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Over the soft limit comes a signal that says why; over the hard one, any program is killed.
    seconds = int(limits["seconds"]) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for name, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_NPROC, limits["processes"] + _OWN_PROCESSES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _forbid_more_namespaces() -> None:
    """In a user namespace of its own a program would be root again, and could mount."""
    with suppress(OSError):
        Path("/proc/sys/user/max_user_namespaces").write_text("0")


def _watch(pid: int, memory_bytes: int) -> dict[str, Any]:
    """Wait for the program's end; end it when all of its processes together hold too much."""
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found == pid:
            return {"exit": os.waitstatus_to_exitcode(status)}
        if found == 0:
            if memory_bytes and _resident_pages() * page > memory_bytes:
                return {"memory": True}
            time.sleep(POLL_S)


def _resident_pages() -> int:
    """Count what all processes of this namespace hold; shared pages as often as they are held."""
    total = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and entry.name != "1":
            with suppress(OSError, IndexError):  # it has ended meanwhile
                total += int(Path(entry.path, "statm").read_text().split()[1])
    return total


def _tell(message: dict[str, Any]) -> None:
    os.write(1, b"\n" + json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
