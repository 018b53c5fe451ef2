"""A program: asks the kernel for SIGTERM when its parent dies, then becomes the given command.

Standard library only, started with `python -I`: `leash.py PARENT_PID COMMAND ARGUMENT…`.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def main(
    parent_pid: int,
    command: list[str],
    become: Callable[[str, list[str]], object] = os.execvp,
) -> None:
    """Become `command`; does not return."""
    # SIGTERM, not SIGKILL: an engine that may clean up ends its own children too, while they
    # would outlive a leader that is killed.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit("the launcher is gone")  # it died before the kernel could know of the wish
    try:
        become(command[0], command)
    except OSError as exc:
        sys.exit(f"cannot run {command[0]}: {exc.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
