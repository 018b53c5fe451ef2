"""The program that ties the engine to its launcher's life."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: what the leash asks of the kernel cannot be taken back."""
    code = f"import os\nfrom launcher.leash import main\n{program}"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_it_becomes_the_command() -> None:
    done = run("main(os.getppid(), ['prog', 'arg'], lambda *call: print(*call))")
    assert (done.stdout, done.returncode) == ("prog ['prog', 'arg']\n", 0)


def test_it_ends_when_its_parent_was_gone_before_it_could_ask() -> None:
    done = run("main(1, ['prog'], lambda *call: print(*call))")
    assert (done.stdout, done.stderr, done.returncode) == ("", "the launcher is gone\n", 1)


def test_a_command_that_cannot_be_run_is_told() -> None:
    done = run("main(os.getppid(), ['/no/such/program'])")
    assert done.stderr == "cannot run /no/such/program: No such file or directory\n"
    assert done.returncode == 1


def test_it_runs_as_a_program_apart_from_every_package() -> None:
    leash = REPOSITORY / "launcher" / "leash.py"
    argv = [sys.executable, "-I", str(leash), str(os.getpid()), "echo", "done"]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"done\n"
