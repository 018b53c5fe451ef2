"""Owns the file system that a program sees: what Python needs to run, read-only, and an empty /tmp.

Standard library only. Run in a mount namespace of its own, before the program starts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from evaluator.sandbox import linux

WORK_FOLDER = "/tmp"
_BASE = "/tmp"  # where the new root is put together; nothing in it is read after that
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def enter(readable: Sequence[str], disk_bytes: int) -> bool:
    """Make the root, go there; return whether it has a /proc of its own. Raises OSError."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    sources = _open([*_SYSTEM, *_DEVICES, *readable])
    linux.mount("tmpfs", _BASE, "tmpfs", linux.MS_NOSUID, "size=1m,mode=755")
    for name in ("proc", WORK_FOLDER.strip("/")):
        Path(_BASE, name).mkdir()
    safe = linux.MS_NOSUID | linux.MS_NODEV
    files = f"size={disk_bytes},nr_inodes=4096,mode=1777"
    linux.mount("tmpfs", _BASE + WORK_FOLDER, "tmpfs", safe, files)
    for path, descriptor in sources.items():  # one may lie in the work folder
        _add(path, descriptor)
    linux.make_read_only(_BASE)
    linux.make_writable(_BASE + WORK_FOLDER)
    has_proc = _mount_proc(safe)
    linux.change_root(_BASE)
    return has_proc


def _open(paths: Sequence[str]) -> dict[str, int]:
    """Hold what is to be seen: the new root may cover the place where it lies."""
    found: dict[str, int] = {}
    for path in paths:
        is_inside = any(path.startswith(f"{outer}/") for outer in found)
        if os.path.lexists(path) and not is_inside:
            found[path] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return found


def _add(path: str, descriptor: int) -> None:
    target = Path(_BASE + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    held = Path(f"/proc/self/fd/{descriptor}")
    if _is_link(descriptor):  # /bin, mostly
        target.symlink_to(os.readlink("", dir_fd=descriptor))
        return
    if held.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    linux.mount(str(held), str(target), flags=linux.MS_BIND | linux.MS_REC)


def _is_link(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o120000


def _mount_proc(flags: int) -> bool:
    """Show the sandbox's own processes; where parts of /proc are masked, the kernel refuses."""
    try:
        linux.mount("proc", f"{_BASE}/proc", "proc", flags | linux.MS_NOEXEC)
    except OSError:
        return False
    return True
