"""Owns which Pythons this machine has; standard library only: it runs before any install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import CannotStart
from launcher.install_step import say

Version = tuple[int, int]
# From the MetaX image's to the newest released.
GATEWAY_VERSIONS: tuple[Version, ...] = tuple((3, minor) for minor in range(10, 15))


def find_pythons(
    versions: Sequence[Version], search_path: str | None = None, home: Path | None = None
) -> list[Path]:
    """Return one interpreter per wanted version that is here; `python3` goes first.

    Looked for on PATH (`search_path`), then among what pyenv has installed, active or not.
    """
    path = os.environ.get("PATH", os.defpath) if search_path is None else search_path
    names = ["python3", *(f"python{major}.{minor}" for major, minor in versions)]
    on_path = [Path(found) for name in names if (found := shutil.which(name, path=path))]
    pyenv = (home or Path.home()) / ".pyenv" / "versions"
    by_version: dict[Version, Path] = {}
    for python in [*on_path, *sorted(pyenv.glob("3.*/bin/python"), reverse=True)]:
        version = _version(python)
        if version in versions:
            by_version.setdefault(version, python)
    return list(by_version.values())


def _version(python: Path) -> Version:
    """Ask an interpreter its version; (0, 0) for one that does not run, such as an idle shim."""
    ask = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, check=False)
    except OSError:
        return (0, 0)
    # Something else under that name may print anything.
    match = re.fullmatch(rb"(\d+) (\d+)\s*", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def main() -> int:
    """Print the oldest and the newest Python that the gateway runs on: `version path` lines."""
    found = sorted((_version(python), python) for python in find_pythons(GATEWAY_VERSIONS))
    if not found:
        versions = ", ".join(f"{major}.{minor}" for major, minor in GATEWAY_VERSIONS)
        say(f"no Python found on PATH or in pyenv's folder that is one of {versions}")
        return CannotStart.exit_code
    for (major, minor), python in dict.fromkeys([found[0], found[-1]]):
        print(f"{major}.{minor} {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
