"""From settings to the plan of a start, for the engines that are not vLLM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.checks import engine_flags
from launcher.engines.catalog import KINDS, kind_of
from launcher.errors import CannotStart
from launcher.ladder import FALLBACK
from launcher.plan import ask_flags, find_engine, plan_engine
from launcher.settings import LauncherSettings, load_settings
from tests.fakes.interpreters import executable
from tests.fakes.model_files import model_files, write_model
from tests.launcher.installs import fake_package, fake_vllm

pytestmark = pytest.mark.anyio

SERVE_NEEDS = ("accelerate", "fastapi", "uvicorn", "openai")


def settings(folder: Path, python: Path, **environ: str) -> LauncherSettings:
    model = write_model(folder / "my-model", {**model_files(), "chat_template.jinja": b"x"})
    own = {
        "ENGINE_PYTHON": str(python),
        "MODEL_DIR": str(model),
        "EVALGATE_CACHE": str(folder / "cache"),
        "ENGINE_STATE_FILE": str(folder / "run" / "engine.json"),
    }
    return load_settings({**own, **environ})


async def test_sglang_is_planned_by_its_own_flags(tmp_path: Path) -> None:
    server = """
import argparse
parser = argparse.ArgumentParser()
for flag in ("--model-path", "--port", "--context-length"):
    parser.add_argument(flag)
parser.parse_args()
"""
    python = fake_package(tmp_path, "sglang", "0.5.23", {"launch_server.py": server})
    mine = settings(tmp_path, python, ENGINE="sglang", MAX_MODEL_LEN="64")
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert plan.title.startswith("SGLang 0.5.23 on CPU (")
    assert plan.engine == "sglang"
    assert plan.is_health_proof
    assert plan.argv[plan.argv.index("--context-length") + 1] == "64"
    assert "--enable-metrics" not in plan.argv  # this one does not know it
    assert plan.capacity.max_model_len == 64
    assert not plan.capacity.has_fallback


async def test_an_interpreter_without_the_engine_is_told(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    mine = settings(tmp_path, python, ENGINE="sglang")
    with pytest.raises(CannotStart, match="has no SGLang"):
        await plan_engine(mine, os.environ, tmp_path)


async def test_transformers_is_planned_in_a_folder_that_names_the_model(tmp_path: Path) -> None:
    python = fake_package(tmp_path, "transformers", "5.19.0")
    mine = settings(tmp_path, python, ENGINE="transformers", SERVED_MODEL_NAME="mine")
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert plan.title.startswith("transformers serve 5.19.0 on CPU (")
    assert plan.working_dir is not None
    assert (plan.working_dir / "mine").resolve() == tmp_path / "my-model"
    assert plan.argv[3:5] == ("serve", "mine")
    # A default of vLLM's is no setting that is missed here.
    assert plan.dropped == ()


async def test_the_fallback_is_another_plan_of_the_same_configuration(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    for name in SERVE_NEEDS:
        fake_package(tmp_path, name, "1.0")
    fake_package(tmp_path, "transformers", "5.19.0")
    mine = settings(tmp_path, python)
    asked = await plan_engine(mine, os.environ, tmp_path)
    assert asked.capacity.has_fallback
    plan = await plan_engine(mine, os.environ, tmp_path, FALLBACK)
    assert (plan.engine, plan.rung) == ("transformers", "transformers serve")
    assert plan.argv[:4] == (str(python), "-m", "transformers.cli.transformers", "serve")
    assert plan.configuration == asked.configuration
    assert plan.base_url == asked.base_url


@pytest.mark.parametrize("version", ["4.57.0", ""])
async def test_there_is_no_fallback_to_what_cannot_serve(tmp_path: Path, version: str) -> None:
    python = fake_vllm(tmp_path)
    if version:
        fake_package(tmp_path, "transformers", version)
    plan = await plan_engine(settings(tmp_path, python), os.environ, tmp_path)
    assert not plan.capacity.has_fallback


async def test_an_adapter_is_never_silently_left_out(tmp_path: Path) -> None:
    python = fake_package(tmp_path, "transformers", "5.19.0")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    (adapter / "adapter_model.bin").write_bytes(b"x")
    mine = settings(tmp_path, python, ENGINE="transformers", LORA_DIR=str(adapter))
    with pytest.raises(CannotStart, match="serves no LoRA adapter from here: merge it"):
        await plan_engine(mine, os.environ, tmp_path)


async def test_guesses_that_an_engine_does_not_make_are_told(tmp_path: Path) -> None:
    python = fake_package(tmp_path, "transformers", "5.19.0")
    asked = {"ENGINE": "transformers", "ENABLE_SPECULATIVE_DECODING": "1"}
    plan = await plan_engine(settings(tmp_path, python, **asked), os.environ, tmp_path)
    assert plan.dropped == ("ENABLE_SPECULATIVE_DECODING (transformers serve does not)",)


async def test_triton_serves_its_repository_with_or_without_our_tokenizer(tmp_path: Path) -> None:
    python = fake_package(tmp_path, "tritonserver", "2.60")
    repository = tmp_path / "models"
    asked = {"ENGINE": "triton", "TRITON_MODEL_REPOSITORY": str(repository)}
    plan = await plan_engine(settings(tmp_path, python, **asked), os.environ, tmp_path)
    assert plan.health_path == "/health/ready"
    # The frontend imports modules that lie beside it; `python -m` needs none of the folder.
    assert "PYTHONSAFEPATH" not in plan.env
    assert plan.argv[plan.argv.index("--tokenizer") + 1] == str(tmp_path / "my-model")
    without = settings(tmp_path, python, **asked, MODEL_DIR="")
    plan = await plan_engine(without, os.environ, tmp_path)
    assert "--tokenizer" not in plan.argv
    assert plan.title.endswith("with model models")


async def test_a_plain_triton_needs_no_interpreter(tmp_path: Path) -> None:
    server = executable(tmp_path / "tritonserver", "exit 1")
    asked = {
        "ENGINE": "triton",
        "ENGINE_API": "generate",
        "ENGINE_PYTHON": "",
        "TRITON_MODEL_REPOSITORY": str(tmp_path / "models"),
        "TRITON_PROGRAM": str(server),
    }
    mine = settings(tmp_path, tmp_path, **asked)
    environ = {**os.environ, "FT_CB_BATCH_SIZE": "14"}
    plan = await plan_engine(mine, environ, tmp_path)
    assert plan.argv[0] == str(server)
    assert plan.env["FT_CB_BATCH_SIZE"] == "14"
    assert plan.health_path == "/v2/health/ready"
    other = await plan_engine(mine, {**environ, "FT_CB_BATCH_SIZE": "28"}, tmp_path)
    assert other.configuration != plan.configuration


async def test_the_older_mindspore_module_is_not_asked_for_its_flags(tmp_path: Path) -> None:
    python = fake_package(tmp_path, "vllm_mindspore", "0.5")
    mine = settings(tmp_path, python, ENGINE="vllm-mindspore")
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert plan.is_wrapper
    assert await ask_flags(mine, await find_engine(mine, os.environ, tmp_path)) is None


async def test_a_health_route_of_ones_own_wins(tmp_path: Path) -> None:
    mine = settings(tmp_path, fake_vllm(tmp_path), ENGINE_HEALTH_PATH="/ping")
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert plan.health_path == "/ping"
    assert plan.env["PYTHONSAFEPATH"] == "1"


def test_every_engine_has_its_kind_under_its_name() -> None:
    assert list(KINDS) == ["vllm", "sglang", "vllm-mindspore", "transformers", "triton"]
    with pytest.raises(CannotStart, match="ENGINE=external"):
        kind_of(load_settings({"ENGINE": "external", "ENGINE_URL": "http://x"}))


async def test_the_doctor_asks_the_engine_that_is_meant(tmp_path: Path) -> None:
    server = """
import argparse
parser = argparse.ArgumentParser()
for flag in ("--model-path", "--port", "--context-length"):
    parser.add_argument(flag)
parser.parse_args()
"""
    python = fake_package(tmp_path, "sglang", "0.5.23", {"launch_server.py": server})
    mine = settings(tmp_path, python, ENGINE="sglang", DTYPE="float16", MAX_MODEL_LEN="64")
    engine = await engine_flags.ask(mine, os.environ, tmp_path)
    result = engine_flags.check(mine, engine, None)
    assert "SGLang 0.5.23 here: no effect of STREAM_INTERVAL, DTYPE" in str(result)
    external = load_settings({"ENGINE": "external", "ENGINE_URL": "http://x"})
    nothing = await engine_flags.ask(external, os.environ, tmp_path)
    assert "somebody else runs the engine" in str(engine_flags.check(external, nothing, None))
