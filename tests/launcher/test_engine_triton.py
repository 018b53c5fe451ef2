"""Triton's two command lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from launcher.accelerator import Accelerator
from launcher.engines import triton
from launcher.engines.kind import Place
from launcher.errors import CannotStart
from launcher.ladder import AS_CONFIGURED
from launcher.model_parts import Parts
from launcher.settings import LauncherSettings, load_settings
from tests.fakes.interpreters import executable

REPOSITORY = {"ENGINE": "triton", "TRITON_MODEL_REPOSITORY": "/models", "ENGINE_PORT": "9001"}


def place(model_dir: str = "/m") -> Place:
    return Place(Path("/e/python"), Path(model_dir), Accelerator.NVIDIA, None)


def test_the_frontend_serves_the_repository_with_the_models_tokenizer() -> None:
    settings = load_settings({**REPOSITORY, "ENGINE_EXTRA_ARGS": "--backend vllm"})
    command = triton.chat_argv(settings, place(), AS_CONFIGURED, Parts())
    assert command.args == (
        *("/e/python", str(triton.FRONTEND), "--model-repository", "/models"),
        *("--tokenizer", "/m", "--host", "127.0.0.1", "--openai-port", "9001"),
        *("--uvicorn-log-level", "warning", "--backend", "vllm"),
    )
    assert command.dropped == ()


def test_without_a_model_folder_the_frontend_is_told_no_tokenizer() -> None:
    settings = load_settings(REPOSITORY)
    command = triton.chat_argv(settings, place("/models"), AS_CONFIGURED, Parts())
    assert "--tokenizer" not in command.args


def test_the_plain_server_leaves_no_port_to_chance(tmp_path: Path) -> None:
    server = executable(tmp_path / "tritonserver", "exit 1")
    settings = load_settings({**REPOSITORY, "TRITON_PROGRAM": str(server)})
    command = triton.generate_argv(settings, place(), AS_CONFIGURED, Parts())
    assert command.args == (
        *(str(server), "--model-repository=/models", "--http-address=127.0.0.1"),
        *("--http-port=9001", "--grpc-port=9002", "--metrics-port=9003"),
    )


def test_the_plain_server_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(REPOSITORY)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match="TRITON_PROGRAM"):
        triton.generate_argv(settings, place(), AS_CONFIGURED, Parts())
    server = executable(tmp_path / "tritonserver", "exit 1")
    command = triton.generate_argv(settings, place(), AS_CONFIGURED, Parts())
    assert command.args[0] == str(server)


def test_a_server_that_is_nowhere_is_told_before_any_start() -> None:
    with pytest.raises(ValidationError, match="TRITON_MODEL_REPOSITORY"):
        LauncherSettings.model_validate({"engine": "triton"})


def test_what_stands_in_the_repository_is_told_if_it_was_set_here() -> None:
    settings = load_settings({**REPOSITORY, "MAX_MODEL_LEN": "64"})
    command = triton.chat_argv(settings, place(), AS_CONFIGURED, Parts())
    assert command.dropped == ("MAX_MODEL_LEN (it is the model repository's)",)


def test_the_watchdog_asks_as_the_gateway_does() -> None:
    settings = load_settings({**REPOSITORY, "SERVED_MODEL_NAME": "ensemble"})
    question = triton.generate_canary(settings)
    assert question.path == "/v2/models/ensemble/generate"
    assert json.loads(question.body)["max_tokens"] == 1
