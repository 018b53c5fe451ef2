"""Which environment an evaluation tool gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import tool_install
from launcher.errors import CannotStart
from launcher.tool_install import REPOSITORY, SUPPORTED, install
from tests.fakes.interpreters import StandIn, only_wheels_from, stand_in, write_wheel


@pytest.fixture(scope="module", autouse=True)
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "torch", "2.13.0+cpu")
    write_wheel(folder, "lm_eval", "0.4.13")
    with only_wheels_from(folder):
        yield


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/aisbench.txt").write_text("torch==2.13.0+cpu\n")
    (tmp_path / "requirements/lm-eval.txt").write_text("lm-eval>=0.4,<0.5\n")
    return tmp_path


@pytest.fixture
def python(tmp_path: Path) -> StandIn:
    return stand_in(tmp_path / "python")


def installed(python: Path) -> set[str]:
    ask = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    return set(subprocess.check_output([python, "-c", ask], text=True).split())


def test_a_tool_gets_the_first_python(repository: Path, python: StandIn) -> None:
    install("lm-eval", [python.path], repository, repository / "cache")
    assert installed(repository / ".venv-lm-eval/bin/python") == {"lm_eval"}


def test_a_tool_with_torch_gets_the_python_that_has_it(repository: Path, python: StandIn) -> None:
    """And the second time no package index is asked."""
    unlucky = stand_in(repository / "unlucky", before="export PIP_FIND_LINKS=")
    for _ in range(2):
        install("aisbench", [unlucky.path, python.path], repository, repository / "cache")
        assert len(python.calls("-m venv")) == 1
        assert len(unlucky.calls("-m pip")) + len(unlucky.calls("-m venv")) == 0
    assert installed(repository / ".venv-aisbench/bin/python") == {"torch"}


def test_no_python_for_a_tool_is_told(repository: Path) -> None:
    with pytest.raises(CannotStart, match=r"aisbench: it needs one of 3.10, 3.11, 3.12 on PATH"):
        install("aisbench", [], repository, repository / "cache")


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_tool_has_its_requirements(name: str) -> None:
    assert (REPOSITORY / "requirements" / f"{name}.txt").is_file()


@pytest.mark.parametrize("arguments", [[], ["other"], ["aisbench", "evalscope"]])
def test_other_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tool_install.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: python -m launcher.tool_install aisbench |")


def test_an_install_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of EvalScope is among the wheels here."""
    monkeypatch.setenv("EVALGATE_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "checkout"
    (repository / "requirements").mkdir(parents=True)
    (repository / "requirements/evalscope.txt").write_text("evalscope\n")
    argv = [sys.executable, "-m", "launcher.tool_install", "evalscope"]
    (repository / "launcher").symlink_to(REPOSITORY / "launcher")
    done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "evalscope" in done.stderr
