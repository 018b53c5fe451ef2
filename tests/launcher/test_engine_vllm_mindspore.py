"""vllm-mindspore: vLLM's arguments behind its two commands, and the older one's bad manners."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.engines import vllm_mindspore
from launcher.engines.kind import Place
from launcher.ladder import AS_CONFIGURED
from launcher.model_parts import Parts
from launcher.settings import load_settings
from tests.fakes.interpreters import executable

GUIDE = {
    "ENGINE": "vllm-mindspore",
    "ENGINE_PORT": "9001",
    "TENSOR_PARALLEL_SIZE": "4",
    "MAX_MODEL_LEN": "32768",
    "GPU_MEMORY_UTILIZATION": "0.9",
    "TRUST_REMOTE_CODE": "1",
}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return executable(tmp_path / "bin" / "python", "exit 1")


def build(python: Path) -> tuple[str, ...]:
    place = Place(python, Path("/m"), Accelerator.ASCEND, None)
    return vllm_mindspore.argv(load_settings(GUIDE), place, AS_CONFIGURED, Parts()).args


def test_the_newer_command_takes_the_model_by_its_place(python: Path) -> None:
    executable(python.parent / "vllm-mindspore", "exit 1")
    args = build(python)
    assert args[:5] == (str(python), "-m", "vllm_mindspore.scripts", "serve", "/m")
    assert "--model" not in args
    assert not vllm_mindspore.KIND.is_wrapper(python)


def test_the_older_module_is_used_where_there_is_no_command(python: Path) -> None:
    args = build(python)
    module = "vllm.entrypoints.openai.api_server"
    assert args[:6] == (str(python), "-m", "vllm_mindspore.entrypoints", module, "--model", "/m")
    assert vllm_mindspore.KIND.is_wrapper(python)


def test_the_parameters_of_its_guide_come_from_the_settings(python: Path) -> None:
    args = build(python)
    pairs = dict(zip(args, args[1:], strict=False))
    assert pairs["--port"] == "9001"
    assert pairs["--tensor-parallel-size"] == "4"
    assert pairs["--max-model-len"] == "32768"
    assert pairs["--gpu-memory-utilization"] == "0.9"
    assert "--trust-remote-code" in args
