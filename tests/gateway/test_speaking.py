"""In which dialect an engine is asked, and which engine runs at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.completion import Completion, RequestEncoder
from gateway.dialects import FULL, STANDARD, TRANSFORMERS, dialect_of
from gateway.engine_kind import Encoder, encoder_for, health_paths, running_engine
from gateway.errors import EngineNotReady, GatewayError, InvalidRequest, PromptTooLong
from gateway.generate import GenerateEncoder
from gateway.settings import Settings, SettingsError, load_settings
from gateway.speaking import Speaking
from tests.gateway.serving import SAMPLING

pytestmark = pytest.mark.anyio
WHOLE = Completion("text", "stop")


class Refusing:
    """An engine that meets its first calls with errors."""

    def __init__(self, *errors: GatewayError) -> None:
        self._errors = list(errors)

    async def complete(self) -> Completion:
        if self._errors:
            raise self._errors.pop(0)
        return WHOLE


def chat() -> RequestEncoder:
    return RequestEncoder("m", "", enable_thinking=False)


def speaking(encoder: Encoder, *engines: str) -> Speaking:
    running = list(engines or ("vllm",))
    return Speaking(encoder, lambda: running.pop(0) if len(running) > 1 else running[0])


async def test_a_first_refusal_is_answered_by_fewer_fields() -> None:
    encoder = chat()
    mine = speaking(encoder)
    mine.begin()
    assert await mine.first(Refusing(InvalidRequest("top_k")).complete) is WHOLE
    assert encoder.dialect is STANDARD
    assert b"top_k" not in encoder.encode("x", SAMPLING)


async def test_a_later_refusal_is_the_prompts_own() -> None:
    encoder = chat()
    mine = speaking(encoder)
    mine.begin()
    await mine.first(Refusing().complete)
    with pytest.raises(InvalidRequest):
        await mine.first(Refusing(InvalidRequest("bad")).complete)
    assert encoder.dialect is FULL


@pytest.mark.parametrize("error", [PromptTooLong("long"), EngineNotReady("gone")])
async def test_what_is_no_refusal_of_fields_changes_nothing(error: GatewayError) -> None:
    encoder = chat()
    mine = speaking(encoder)
    mine.begin()
    with pytest.raises(type(error)):
        await mine.first(Refusing(error).complete)
    assert encoder.dialect is FULL


async def test_the_narrowest_that_is_refused_is_told() -> None:
    mine = speaking(chat(), "triton")
    mine.begin()
    with pytest.raises(InvalidRequest):
        await mine.first(Refusing(InvalidRequest("no")).complete)


async def test_an_encoder_without_dialects_is_left_alone() -> None:
    mine = speaking(GenerateEncoder("m", lambda prompt: prompt), "triton")
    assert not mine.begin()
    with pytest.raises(InvalidRequest):
        await mine.first(Refusing(InvalidRequest("no")).complete)


def test_another_engine_in_its_place_is_spoken_to_in_its_own_way() -> None:
    encoder = chat()
    mine = speaking(encoder, "vllm", "transformers", "transformers")
    assert [mine.begin() for _ in range(3)] == [False, True, False]
    assert encoder.dialect is TRANSFORMERS


def test_the_guardian_tells_which_engine_runs(tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    here = Settings(engine_state_file=file)
    assert running_engine(here) == "vllm"
    file.write_text(json.dumps({"engine": "transformers"}))
    assert running_engine(here) == "transformers"
    file.write_text(json.dumps({"phase": "preparing"}))
    assert running_engine(here) == "vllm"
    elsewhere = Settings(engine_state_file=file, engine_url="http://x", engine="sglang")
    assert running_engine(elsewhere) == "sglang"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({}, ("/health",)),
        ({"engine": "sglang"}, ("/health",)),
        ({"engine": "triton"}, ("/health/ready",)),
        ({"engine": "triton", "engine_api": "generate"}, ("/v2/health/ready",)),
        ({"engine": "external", "engine_url": "http://x"}, ("/health", "/v1/models")),
        ({"engine_health_path": "/ping"}, ("/ping",)),
    ],
)
def test_health_routes_follow_from_the_engine(
    fields: dict[str, Any], paths: tuple[str, ...]
) -> None:
    assert health_paths(Settings(**fields)) == paths


def test_the_generate_extension_gets_the_models_own_template(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: dict[str, Any] = {"engine": "triton", "engine_api": "generate", "system_prompt": "S"}
    bare = encoder_for(Settings(**asked))
    assert json.loads(bare.encode("hi", SAMPLING))["text_input"] == "S\n\nhi"
    assert "no chat template" in caplog.text
    (tmp_path / "chat_template.jinja").write_text("<{{ messages[-1].content }}>")
    for name in ("model_dir", "chat_template"):
        fields: dict[str, Any] = {**asked, name: tmp_path}
        encoder = encoder_for(Settings(**fields))
        assert json.loads(encoder.encode("hi", SAMPLING))["text_input"] == "<hi>"


def test_each_engine_has_its_dialect() -> None:
    names = ("vllm", "sglang", "vllm-mindspore", "external", "transformers", "triton")
    dialects = [dialect_of(name) for name in names]
    assert dialects == [FULL, FULL, FULL, FULL, TRANSFORMERS, STANDARD]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ENGINE": "external"}, "ENGINE=external needs ENGINE_URL, the base URL of that engine"),
        (
            {"ENGINE_API": "generate"},
            "ENGINE_API=generate is for ENGINE=triton and ENGINE=external only",
        ),
        (
            {"FT_CB_BATCH_SIZE": "14", "BATCH_CONCURRENCY": "8"},
            "BATCH_CONCURRENCY=8: must be at least FT_CB_BATCH_SIZE = 14, "
            "the width of the engine's first wave",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], told: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as failure:
        load_settings()
    assert str(failure.value) == told
