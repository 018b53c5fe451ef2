from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.checks import engine_flags
from launcher.checks.engine_flags import Engine
from launcher.checks.result import Status
from launcher.settings import load_settings
from launcher.tracks import Track
from tests.launcher.installs import fake_vllm

pytestmark = pytest.mark.anyio
KNOWN = frozenset(
    {"--dtype", "--gpu-memory-utilization", "--max-num-seqs", "--max-model-len", "--port"}
    | {"--enable-prefix-caching", "--enforce-eager", "--seed", "--config"}
)
ENGINE = Engine("0.10.2", Path("python"), Accelerator.CPU, KNOWN)


def test_settings_that_the_engine_knows_are_ok() -> None:
    row = engine_flags.check(load_settings({"ENGINE_EXTRA_ARGS": "--seed=1"}), ENGINE, None)
    assert row.status is Status.OK
    assert "vLLM 0.10.2 here knows all" in row.observed


def test_a_setting_without_effect_is_a_warning() -> None:
    settings = load_settings({"VLLM_KV_CACHE_DTYPE": "fp8", "STREAM_INTERVAL": "4"})
    row = engine_flags.check(settings, ENGINE, None)
    assert row.status is Status.WARNING
    assert "no effect of STREAM_INTERVAL, VLLM_KV_CACHE_DTYPE" in row.observed


def test_speculation_that_the_version_refuses_has_no_effect() -> None:
    asked = {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": "draft", "SPEC_MODEL_DIR": "/d"}
    row = engine_flags.check(load_settings(asked), ENGINE, None)
    assert row.status is Status.WARNING
    assert "vLLM 0.10.2 knows no SPEC_METHOD=draft_model" in row.observed


@pytest.mark.parametrize("args", ["--sede 1", "--sede=1", "--se_de", "--sede.x 1"])
def test_an_unknown_extra_argument_is_a_failure(args: str) -> None:
    row = engine_flags.check(load_settings({"ENGINE_EXTRA_ARGS": args}), ENGINE, None)
    assert row.status is Status.FAILURE
    assert "ENGINE_EXTRA_ARGS" in row.observed


def test_an_argument_that_a_track_s_engine_may_know_is_a_warning() -> None:
    settings = load_settings({"ENGINE_EXTRA_ARGS": "--sede 1"})
    row = engine_flags.check(settings, ENGINE, Track.METAX)
    assert row.status is Status.WARNING
    assert "the image of metax may have another) does not know --sede" in row.observed


def test_known_extra_arguments_in_other_spellings_are_ok() -> None:
    settings = load_settings({"ENGINE_EXTRA_ARGS": "--max_model_len 5 --config.x 1 -- y"})
    assert engine_flags.check(settings, ENGINE, None).status is Status.OK


@pytest.mark.parametrize("track", list(Track))
def test_a_track_has_a_card_also_when_there_is_none_here(track: Track) -> None:
    settings = load_settings({"GPU_MEMORY_UTILIZATION": "0.5"})
    assert engine_flags.check(settings, ENGINE, None).status is Status.WARNING
    row = engine_flags.check(settings, ENGINE, track)
    assert row.status is Status.OK
    assert track.value in row.observed


async def test_an_engine_that_is_here_is_asked(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path)
    environ = {"ENGINE_PYTHON": str(python), "EVALGATE_CACHE": str(tmp_path / "cache")}
    engine = await engine_flags.ask(load_settings(environ), environ, tmp_path)
    assert (engine.version, engine.accelerator, engine.why_not) == ("1.2.3", Accelerator.CPU, "")
    assert engine.flags is not None
    assert "--max-num-seqs" in engine.flags


async def test_an_engine_that_does_not_tell_is_no_failure(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path, "raise SystemExit(1)")
    environ = {"ENGINE_PYTHON": str(python), "EVALGATE_CACHE": str(tmp_path / "cache")}
    settings = load_settings(environ)
    engine = await engine_flags.ask(settings, environ, tmp_path)
    row = engine_flags.check(settings, engine, None)
    assert row.status is Status.SKIPPED
    assert "vLLM 1.2.3 did not tell" in row.observed


async def test_an_interpreter_that_is_not_there_is_no_failure(tmp_path: Path) -> None:
    settings = load_settings({"ENGINE_PYTHON": str(tmp_path / "none")})
    engine = await engine_flags.ask(settings, {}, tmp_path)
    row = engine_flags.check(settings, engine, Track.METAX)
    assert row.status is Status.SKIPPED
    assert "there is no such interpreter" in row.observed


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"VLLM_KV_CACHE_DTYPE": "fp8_e4m3"}, "VLLM_KV_CACHE_DTYPE=fp8"),
        ({"VLLM_QUANTIZATION": "fp8"}, "VLLM_QUANTIZATION=fp8"),
        ({"VLLM_LOAD_FORMAT": "awq"}, "VLLM_LOAD_FORMAT=awq"),
        (
            {
                "ENABLE_SPECULATIVE_DECODING": "1",
                "SPEC_METHOD": "draft_model",
                "SPEC_MODEL_DIR": "/d",
            },
            "SPEC_METHOD=draft_model",
        ),
    ],
)
def test_what_a_card_refuses_is_a_warning(environ: dict[str, str], told: str) -> None:
    settings = load_settings(environ)
    row = engine_flags.check_card(settings, Track.METAX)
    assert row.status is Status.WARNING
    assert told in row.observed
    assert engine_flags.check_card(settings, Track.PARATERA).status is Status.OK


def test_nothing_is_held_against_the_defaults() -> None:
    assert engine_flags.check_card(load_settings({}), Track.METAX).status is Status.OK
