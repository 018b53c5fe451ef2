"""The container tools, with a storage of their own: nothing of the machine's is touched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from launcher.virtualenv import cache_folder

STORE = cache_folder() / "containers"
_WHERE = ("--root", str(STORE / "storage"), "--runroot", "/run/evalgate-containers")
_PODMAN = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
NEEDED = ("buildah", "debootstrap", "nsenter", "podman", "runc")


def missing() -> list[str]:
    """Return the programs that are not here; scripts/container-test installs them."""
    return [name for name in NEEDED if shutil.which(name) is None]


def buildah(*arguments: str) -> list[str]:
    """Return a command line."""
    return ["buildah", *_WHERE, *arguments]


def podman(*arguments: str) -> list[str]:
    """Return a command line."""
    # Without systemd nobody runs health checks but who asks for one.
    return ["env", "DISABLE_HC_SYSTEMD=true", "podman", *_WHERE, *_PODMAN, *arguments]


def output_of(argv: Sequence[str], limit_s: float = 120) -> str:
    """Run a command that must succeed and return what it prints."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=limit_s)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def has_image(name: str) -> bool:
    """Tell whether an image is in the storage."""
    return subprocess.run(podman("image", "exists", name), check=False).returncode == 0


def prune() -> None:
    """Remove the layers of earlier builds that no image has any more."""
    subprocess.run(podman("image", "prune", "--force"), check=False, stdout=subprocess.DEVNULL)


def temporary() -> Path:
    """Return a folder beside the storage, for gigabytes that may not fit into /tmp."""
    folder = STORE / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
