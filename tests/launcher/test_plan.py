"""From settings to the plan of a start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from launcher.accelerator import Accelerator, describe
from launcher.errors import CannotStart
from launcher.ladder import Rung
from launcher.plan import plan_engine
from launcher.settings import LauncherSettings
from tests.fakes.interpreters import executable
from tests.fakes.model_files import model_files, write_model
from tests.launcher.installs import SERVER, fake_vllm


def settings(folder: Path, python: Path, **fields: object) -> LauncherSettings:
    model = {**model_files(), "chat_template.jinja": b"x"}
    known = {
        "engine_python": python,
        "model_dir": write_model(folder / "my-model", model),
        "evalgate_cache": folder / "cache",
    }
    return LauncherSettings.model_validate({**known, **fields})


@pytest.mark.anyio
async def test_a_plan_is_everything_that_the_guardian_needs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    python = fake_vllm(tmp_path)
    plan = await plan_engine(settings(tmp_path, python, engine_port=9001), os.environ, tmp_path)
    devices = await describe(Accelerator.CPU)
    assert plan.title == f"vLLM 1.2.3 on {devices} with model my-model"
    assert plan.argv[:2] == (str(python), "-m")
    assert plan.argv[plan.argv.index("--model") + 1] == plan.model_dir
    assert "--max-num-seqs" in plan.argv
    assert (plan.base_url, plan.health_path) == ("http://127.0.0.1:9001", "/health")
    assert (plan.accelerator, plan.versions["vllm"]) == (devices, "1.2.3")
    assert plan.env["HF_HUB_OFFLINE"] == "1"
    assert plan.dropped == ("ENABLE_PREFIX_CACHING",)
    assert "no effect on this engine: ENABLE_PREFIX_CACHING" in caplog.text


@pytest.mark.anyio
async def test_a_fetched_model_is_called_by_its_id(tmp_path: Path) -> None:
    write_model(tmp_path / "model" / "a" / "b", model_files())
    fields = {"model_id": "a/b", "model_dir": None, "model_root": tmp_path / "model"}
    mine = settings(tmp_path, fake_vllm(tmp_path), **fields)
    assert (await plan_engine(mine, os.environ, tmp_path)).title.endswith("with model a/b")


@pytest.mark.anyio
async def test_an_interpreter_without_vllm_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=f"ENGINE_PYTHON={sys.executable} has no vLLM"):
        await plan_engine(settings(tmp_path, Path(sys.executable)), os.environ, tmp_path)


@pytest.mark.anyio
async def test_an_interpreter_that_tells_nothing_gets_the_fewest_arguments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    python = executable(tmp_path / "python", "exit 1")
    plan = await plan_engine(settings(tmp_path, python), os.environ, tmp_path)
    assert plan.title.startswith("vLLM on CPU (")
    assert "--disable-uvicorn-access-log" not in plan.argv
    assert plan.versions == {}
    assert "does not tell what it has installed" in caplog.text


@pytest.mark.anyio
async def test_a_model_without_a_chat_template_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = settings(tmp_path, fake_vllm(tmp_path))
    (tmp_path / "my-model" / "chat_template.jinja").unlink()
    await plan_engine(mine, os.environ, tmp_path)
    assert "the model has no chat template" in caplog.text


@pytest.mark.anyio
async def test_a_draft_that_is_not_there_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"enable_speculative_decoding": True, "spec_method": "eagle", "spec_model_id": "a/b"}
    mine = settings(tmp_path, fake_vllm(tmp_path), **asked, model_root=tmp_path / "model")
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert "--speculative-config" not in plan.argv
    lost = f"ENABLE_SPECULATIVE_DECODING (there is no model folder {tmp_path}/model/a/b)"
    assert lost in plan.dropped
    assert lost in caplog.text


@pytest.mark.anyio
async def test_guesses_are_left_out_on_a_rung_for_a_failure_of_no_known_cause(
    tmp_path: Path,
) -> None:
    python = fake_vllm(tmp_path, SERVER.replace('"--dtype"', '"--dtype", "--speculative-config"'))
    mine = settings(tmp_path, python, enable_speculative_decoding=True)
    asked = await plan_engine(mine, os.environ, tmp_path)
    told_length = await plan_engine(mine, os.environ, tmp_path, Rung("smaller", max_model_len=64))
    eager = await plan_engine(mine, os.environ, tmp_path, Rung("eager", is_eager=True))
    assert "--speculative-config" in asked.argv
    assert "--speculative-config" in told_length.argv
    assert "--speculative-config" not in eager.argv
    assert "ENABLE_SPECULATIVE_DECODING (left out on the rung eager)" in eager.dropped
    assert asked.configuration == eager.configuration


@pytest.mark.anyio
async def test_an_adapter_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    mine = settings(tmp_path, fake_vllm(tmp_path), lora_id="a/b", model_root=tmp_path / "model")
    told = "the LoRA adapter: there is no model folder .*; fetch it with"
    with pytest.raises(CannotStart, match=told):
        await plan_engine(mine, os.environ, tmp_path)


@pytest.mark.anyio
async def test_a_rung_changes_the_plan_but_not_what_was_asked_for(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    mine = settings(tmp_path, python)
    asked = await plan_engine(mine, os.environ, tmp_path)
    rung = Rung("smaller", max_num_seqs=64, cpu_kv_cache_gib=2)
    plan = await plan_engine(mine, os.environ, tmp_path, rung)
    assert (plan.rung, asked.rung) == ("smaller", "as configured")
    assert plan.argv == (*asked.argv, "--max-num-seqs", "64")
    assert plan.env["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert plan.configuration == asked.configuration
    assert (asked.capacity.cpu_kv_cache_gib, plan.capacity.cpu_kv_cache_gib) == (1, 2)
    assert (asked.capacity.max_num_seqs, plan.capacity.max_num_seqs) == (256, 64)


@pytest.mark.anyio
async def test_another_setting_is_another_configuration(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    mine = settings(tmp_path, python)
    other = mine.model_copy(update={"engine_port": 9009})
    first = await plan_engine(mine, os.environ, tmp_path)
    assert first.configuration != (await plan_engine(other, os.environ, tmp_path)).configuration
    environ = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "lots"}
    told = await plan_engine(mine, environ, tmp_path)
    assert first.configuration != told.configuration
    assert told.capacity.cpu_kv_cache_gib is None


@pytest.mark.anyio
async def test_a_plan_knows_how_its_engine_is_watched(tmp_path: Path) -> None:
    plan = await plan_engine(settings(tmp_path, fake_vllm(tmp_path)), os.environ, tmp_path)
    assert plan.is_on_cpu
    assert plan.canary is not None
    assert plan.read_counters("") is None
    symptom = plan.read_symptom("KeyError: 1")
    assert symptom is not None
    assert symptom.kind == "other"


@pytest.mark.anyio
async def test_what_is_not_set_is_the_hardwares_own_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "mxcd").touch()
    executable(tmp_path / "tools" / "mx-smi", 'echo "GPU#0  MXC500  GPU-1"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    mine = settings(tmp_path, fake_vllm(tmp_path))
    plan = await plan_engine(mine, os.environ, tmp_path)
    assert plan.accelerator == "MetaX (1 x MXC500)"
    assert plan.capacity.max_num_seqs == 512
    set_by_user = mine.model_copy(update={"vllm_max_num_seqs": 7})
    assert (await plan_engine(set_by_user, os.environ, tmp_path)).capacity.max_num_seqs == 7
