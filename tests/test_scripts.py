"""The sh scripts: what they refuse, before they make anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.interpreters import executable

REPOSITORY = Path(__file__).absolute().parents[1]
SCRIPTS = [*sorted((REPOSITORY / "scripts").iterdir()), REPOSITORY / ".ci" / "run"]
OLD = "exit 1"  # to the question whether it is new enough


def run(script: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def copy_scripts(folder: Path) -> Path:
    """Copy them to where nothing can be built from: whatever they start fails."""
    return shutil.copytree(REPOSITORY / "scripts", folder / "scripts")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_and_plain_sh(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n# ")
    checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_part_of_the_tests_is_refused_with_the_usage(tmp_path: Path) -> None:
    """It built both environments before it looked at its argument."""
    done = run(copy_scripts(tmp_path) / "test", "nonsense")
    assert done.returncode == 2
    assert done.stderr == "usage: scripts/test [all|unit|browser|e2e|full] [pytest arguments]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


def test_serve_refuses_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 75)
    done = run(copy_scripts(folder) / "serve")
    assert done.returncode == 3
    assert "too long for supervisord's socket" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["scripts"]


def test_find_python_takes_the_one_that_is_named(tmp_path: Path) -> None:
    named = executable(tmp_path / "mine", "exit 0")
    done = run(REPOSITORY / "scripts" / "find-python", PYTHON=str(named))
    assert (done.returncode, done.stdout) == (0, f"{named}\n")


@pytest.mark.parametrize("script", ["chaos", "find-python", "prepare", "soak", "test"])
def test_a_named_python_that_is_too_old_is_refused(tmp_path: Path, script: str) -> None:
    named = executable(tmp_path / "old", OLD)
    done = run(copy_scripts(tmp_path) / script, PYTHON=str(named))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"evalgate: no Python 3.10 or newer found (looked for: {named})\n"


def test_find_python_skips_what_does_not_run(tmp_path: Path) -> None:
    executable(tmp_path / "python3", OLD)
    executable(tmp_path / "python3.13", "exit 127")
    found = executable(tmp_path / "python3.12", "exit 0")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run(REPOSITORY / "scripts" / "find-python", PATH=path, PYTHON="")
    assert (done.returncode, done.stdout) == (0, f"{found}\n")
