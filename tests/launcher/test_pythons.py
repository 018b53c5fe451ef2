"""Which Pythons a machine has: PATH, pyenv, and what only looks like one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import pythons
from launcher.pythons import GATEWAY_VERSIONS, find_pythons
from tests.fakes.interpreters import executable

REPOSITORY = Path(__file__).absolute().parents[2]
IDLE_SHIM = 'echo "pyenv: python3.12: command not found" >&2; exit 127'


class Machine:
    """Two folders of PATH and a home."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second, self.home = folder / "first", folder / "second", folder / "home"
        self.search_path = f"{self.first}:{self.second}"

    def find(self) -> list[Path]:
        return find_pythons(GATEWAY_VERSIONS, self.search_path, self.home)

    def python(self, name: str, version: str) -> Path:
        return executable(self.first / name, f"echo {version}")

    def pyenv(self, version: str) -> Path:
        path = self.home / ".pyenv" / "versions" / version / "bin" / "python"
        major, minor, *_ = version.split(".")
        return executable(path, f"echo {major} {minor}")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def enter(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", machine.search_path)
    monkeypatch.setenv("HOME", str(machine.home))


def test_python3_goes_first_then_one_for_each_version(machine: Machine) -> None:
    oldest = machine.python("python3.10", "3 10")
    newest = machine.python("python3.13", "3 13")
    default = machine.python("python3", "3 12")
    machine.python("python3.12", "3 12")
    assert machine.find() == [default, oldest, newest]


def test_a_version_that_is_not_wanted_is_left_out(machine: Machine) -> None:
    machine.python("python3", "3 9")
    newer = machine.python("python3.11", "3 11")
    assert machine.find() == [newer]


def test_the_first_folder_of_the_path_wins(machine: Machine) -> None:
    executable(machine.second / "python3.11", "echo 3 11")
    first = machine.python("python3.11", "3 11")
    assert machine.find() == [first]


@pytest.mark.parametrize(
    "script",
    [IDLE_SHIM, "exit 1", "echo not this", "echo 3 12 1", r"printf '\377 \377'", "kill -9 $$"],
)
def test_what_only_looks_like_a_python_is_skipped(machine: Machine, script: str) -> None:
    """Two words that are no numbers ended the search with a traceback."""
    executable(machine.first / "python3.12", script)
    real = machine.python("python3.13", "3 13")
    assert machine.find() == [real]


def test_a_file_that_cannot_be_run_is_skipped(machine: Machine) -> None:
    broken = machine.python("python3", "3 12")
    broken.write_bytes(b"\x7fELF of another machine")
    assert machine.find() == []


def test_what_pyenv_has_installed_is_found_active_or_not(machine: Machine) -> None:
    executable(machine.first / "python3.12", IDLE_SHIM)
    on_path = machine.python("python3.11", "3 11")
    inactive = machine.pyenv("3.12.1")
    machine.pyenv("3.11.7")
    machine.pyenv("3.9.18")
    assert machine.find() == [on_path, inactive]


def test_path_and_home_of_the_process_are_the_defaults(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(machine, monkeypatch)
    python = machine.python("python3", "3 12")
    assert find_pythons(GATEWAY_VERSIONS) == [python]


def test_main_prints_the_oldest_and_the_newest(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(machine, monkeypatch)
    machine.python("python3", "3 11")
    newest = machine.python("python3.13", "3 13")
    oldest = machine.pyenv("3.10.13")
    assert pythons.main() == 0
    assert capsys.readouterr().out == f"3.10 {oldest}\n3.13 {newest}\n"


def test_main_prints_one_line_for_one_python(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(machine, monkeypatch)
    python = machine.python("python3", "3 11")
    assert pythons.main() == 0
    assert capsys.readouterr().out == f"3.11 {python}\n"


def test_main_says_that_there_is_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """scripts/test ended without a word."""
    enter(machine, monkeypatch)
    machine.python("python3", "3 9")
    assert pythons.main() == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "evalgate: no Python found on PATH or in pyenv's folder "
        "that is one of 3.10, 3.11, 3.12, 3.13, 3.14\n"
    )


def test_it_runs_where_nothing_is_installed(machine: Machine) -> None:
    python = machine.python("python3", "3 11")
    done = subprocess.run(
        [Path(sys.executable).resolve(), "-S", "-m", "launcher.pythons"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": machine.search_path, "HOME": str(machine.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (f"3.11 {python}\n", "")
