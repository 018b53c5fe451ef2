"""Owns the way into the sandbox through podman or docker: one container for each program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import anyio

from evaluator.sandbox import runner
from evaluator.sandbox.limits import Limits
from evaluator.sandbox.outcome import SandboxFailed
from evaluator.sandbox.ways import ENVIRON, KILL_WAIT_S

RUNTIMES = ("podman", "docker")


class Container:
    """Runs programs by the `python3` of an image that is here already: nothing is pulled."""

    def __init__(self, image: str, runtime: str = "") -> None:
        self.image = image
        self.runtime = runtime or _find_runtime()

    def argv(self, name: str, limits: Limits) -> list[str]:
        """The command that makes, runs and removes one container."""
        files = f"rw,nosuid,nodev,size={limits.disk_bytes},mode=1777"
        seconds = int(limits.seconds) + 2  # as in the jail
        return [
            *(self.runtime, "run", "--rm", "--interactive", "--pull=never", f"--name={name}"),
            *("--network=none", "--read-only", f"--tmpfs=/tmp:{files}", "--workdir=/tmp"),
            *("--user=65534:65534", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            # Swap counts as memory: the same value allows none.
            *(f"--memory={limits.memory_bytes}", f"--memory-swap={limits.memory_bytes}"),
            f"--pids-limit={limits.processes}",
            f"--ulimit=fsize={limits.disk_bytes}:{limits.disk_bytes}",
            f"--ulimit=nofile={limits.open_files}:{limits.open_files}",
            # Nobody is there to end what computes on when the evaluator was killed.
            f"--ulimit=cpu={seconds}:{seconds + 1}",
            # Python as a first process ignores SIGTERM: `rm --force` of podman would wait 10 s.
            "--stop-timeout=0",
            # The limit that counts is pids-limit; podman's own default here can be more than a
            # container may have, which then does not start.
            *("--ulimit=nproc=4096:4096", "--ulimit=core=0:0", "--log-driver=none"),
            *(f"--env={key}={value}" for key, value in ENVIRON.items()),
            *(self.image, "python3", "-I", "-B", "-c"),
            Path(runner.__file__).read_text(encoding="utf-8"),
        ]

    def order(self, program: str, nonce: str, folder: str, limits: Limits) -> dict[str, Any]:
        """What the innermost process reads; the limits stand in the command."""
        return {"program": program, "nonce": nonce}

    def environ(self) -> dict[str, str]:
        """The runtime needs its user's; a container gets nothing of it."""
        return dict(os.environ)

    def cwd(self, folder: str) -> Path:
        """Not here: podman's monitor writes a file `oom` where it runs."""
        return Path(folder)

    async def kill(self, name: str) -> None:
        """Remove the container: it outlives the command that made it."""
        with anyio.move_on_after(KILL_WAIT_S):
            await anyio.run_process(
                [self.runtime, "rm", "--force", name],
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )


def _find_runtime() -> str:
    for name in RUNTIMES:
        if found := shutil.which(name):
            return found
    raise SandboxFailed(f"there is no {' and no '.join(RUNTIMES)} here: leave --container out")
