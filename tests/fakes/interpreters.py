"""Stand-ins for Python interpreters, and wheels of nothing: installs in a second, without network.

A stand-in is a shell script around the Python that runs the tests: real venv, real pip.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pip
import pytest

# pip is linked, not installed: ensurepip costs most of what `python -m venv` takes.
QUICK_VENV = f"""\
"{sys.executable}" -m venv --without-pip "$3" || exit
cd "$3"/lib/python*/site-packages && exec ln -s "{Path(pip.__file__).parent}" pip"""


@dataclass(frozen=True)
class StandIn:
    """An interpreter that keeps a record of what it is started for."""

    path: Path

    def calls(self, prefix: str = "") -> list[str]:
        """Return the command lines so far that start with `prefix`, without the program."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return [line for line in lines if line.startswith(prefix)]

    def forget(self) -> None:
        """Begin the record anew."""
        self._record.unlink()

    @property
    def _record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.calls")


def executable(path: Path, script: str) -> Path:
    """Write a shell script that can be run; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def stand_in(path: Path, *, venv: str = QUICK_VENV, before: str = "") -> StandIn:
    """Write an interpreter whose `-m venv` runs the shell lines `venv`, all else a real Python.

    `before` are shell lines that are run first, whatever it is started for.
    """
    record = f'echo "$*" >>"{path}.calls"'
    is_venv = '[ "$1 $2" = "-m venv" ]'
    real = f'exec "{sys.executable}" "$@"'
    # Nothing of ours runs in it, and measuring doubles its time.
    unmeasured = "unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START"
    lines = (record, unmeasured, before, f"if {is_venv}; then", venv, f"else {real}", "fi")
    return StandIn(executable(path, "\n".join(lines)))


def write_wheel(
    folder: Path, name: str, version: str, *requires: str, programs: Mapping[str, str] | None = None
) -> None:
    """Write a wheel that holds one empty module, and shell scripts to be put where programs lie."""
    info = f"{name}-{version}.dist-info"
    wanted = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    scripts = {
        f"{name}-{version}.data/scripts/{program}": f"#!/bin/sh\n{script}\n"
        for program, script in (programs or {}).items()
    }
    files.update(scripts)
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = (0o100755 if file in scripts else 0o100644) << 16
            wheel.writestr(entry, text)


@contextmanager
def only_wheels_from(folder: Path) -> Iterator[None]:
    """Let pip, here and in child processes, find what is in `folder` and nothing else.

    Environments are made by pip then: uv is fetched for those only that keep what they have.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")
        environment.setenv("PIP_FIND_LINKS", str(folder))
        environment.setenv("PIP_CONFIG_FILE", "/dev/null")
        environment.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        environment.setenv("PIP_NO_CACHE_DIR", "1")
        yield
