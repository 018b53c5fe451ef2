"""The command line of `transformers serve`, and the name that the model goes by there."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.engines import transformers
from launcher.engines.base import Argv
from launcher.engines.kind import Place
from launcher.errors import CannotStart
from launcher.ladder import AS_CONFIGURED, FALLBACK, Rung
from launcher.model_parts import Parts
from launcher.settings import load_settings

PACKAGES = frozenset({"transformers", "accelerate", "fastapi", "uvicorn", "openai", "vllm"})


def build(
    environ: dict[str, str] | None = None,
    rung: Rung = AS_CONFIGURED,
    accelerator: Accelerator = Accelerator.CPU,
) -> Argv:
    place = Place(Path("/e/python"), Path("/m"), accelerator, None)
    return transformers.argv(load_settings(environ or {}), place, rung, Parts())


def value(command: Argv, flag: str) -> str:
    return command.args[command.args.index(flag) + 1]


def test_the_model_is_served_by_its_name() -> None:
    command = build({"SERVED_MODEL_NAME": "mine", "ENGINE_PORT": "9001"})
    module = "transformers.cli.transformers"
    assert command.args[:5] == ("/e/python", "-m", module, "serve", "mine")
    assert (value(command, "--host"), value(command, "--port")) == ("127.0.0.1", "9001")
    assert (value(command, "--dtype"), value(command, "--device")) == ("auto", "cpu")
    assert command.dropped == ()


@pytest.mark.parametrize(
    ("environ", "flag"),
    [({"TRUST_REMOTE_CODE": "1"}, "--trust-remote-code"), ({"ENFORCE_EAGER": "0"}, "--compile")],
)
def test_a_switch_is_given_when_it_is_set(environ: dict[str, str], flag: str) -> None:
    assert flag in build(environ).args
    assert flag not in build().args


def test_number_formats_go_by_torchs_names() -> None:
    assert value(build({"DTYPE": "half"}), "--dtype") == "float16"
    assert value(build({"DTYPE": "bfloat16"}), "--dtype") == "bfloat16"


def test_a_card_is_found_by_itself() -> None:
    assert value(build(accelerator=Accelerator.NVIDIA), "--device") == "auto"


def test_it_batches_within_bounds_on_a_cpu() -> None:
    """Left to itself it takes 90 % of the machine's memory."""
    command = build()
    assert "--continuous-batching" in command.args
    assert value(command, "--cb-num-blocks") == "128"
    assert value(command, "--cb-max-batch-tokens") == "2048"
    asked = build({"VLLM_MAX_NUM_BATCHED_TOKENS": "512"})
    assert value(asked, "--cb-max-batch-tokens") == "512"


def test_it_takes_its_share_of_a_card() -> None:
    usual = build(accelerator=Accelerator.NVIDIA)
    assert not {"--cb-num-blocks", "--cb-max-memory-percent"} & set(usual.args)
    asked = build({"GPU_MEMORY_UTILIZATION": "0.5"}, accelerator=Accelerator.NVIDIA)
    assert value(asked, "--cb-max-memory-percent") == "0.5"


def test_idle_threads_sleep_and_nothing_is_looked_up() -> None:
    assert transformers.environment(load_settings({})) == {
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }


def test_what_it_has_no_flag_for_is_told_if_it_was_set() -> None:
    asked = {"MAX_MODEL_LEN": "64", "VLLM_MAX_NUM_SEQS": "8", "ENGINE_API_KEY": "x"}
    assert build(asked).dropped == ("MAX_MODEL_LEN", "VLLM_MAX_NUM_SEQS", "ENGINE_API_KEY")


def test_extra_arguments_are_for_the_engine_that_was_asked_for() -> None:
    extra = {"ENGINE_EXTRA_ARGS": "--x y"}
    assert build(extra).args[-2:] == ("--x", "y")
    assert "--x" not in build(extra, FALLBACK).args


def test_its_folder_holds_the_model_by_its_name(tmp_path: Path) -> None:
    model = tmp_path / "somewhere" / "model"
    model.mkdir(parents=True)
    state = {"ENGINE_STATE_FILE": str(tmp_path / "run" / "engine.json")}
    settings = load_settings({**state, "SERVED_MODEL_NAME": "owner/mine"})
    folder = transformers.working_dir(settings, model)
    assert (folder / "owner/mine").resolve() == model
    other = tmp_path / "other"
    other.mkdir()
    assert (transformers.working_dir(settings, other) / "owner/mine").resolve() == other
    assert [path.name for path in (folder / "owner").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["a@b", "a:b.gguf", "../up", "/absolute", "a b"])
def test_a_name_that_it_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    state = {"ENGINE_STATE_FILE": str(tmp_path / "run" / "engine.json")}
    with pytest.raises(CannotStart, match="SERVED_MODEL_NAME="):
        transformers.working_dir(load_settings({**state, "SERVED_MODEL_NAME": name}), tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    settings = load_settings({"ENGINE_STATE_FILE": str(tmp_path / "run" / "engine.json")})
    with pytest.raises(CannotStart, match="cannot name the model"):
        transformers.working_dir(settings, tmp_path)


@pytest.mark.parametrize(
    ("packages", "version", "is_ready"),
    [
        (PACKAGES, "5.19.0", True),
        (PACKAGES, "4.57.1", False),
        (PACKAGES, "unknown", False),
        (PACKAGES - {"fastapi"}, "5.19.0", False),
    ],
)
def test_it_serves_only_with_all_that_it_needs(
    packages: frozenset[str], version: str, is_ready: bool
) -> None:
    assert transformers.is_ready_to_serve(packages, {"transformers": version}) is is_ready


def test_an_error_is_read_as_such() -> None:
    symptom = transformers.read_symptom("ImportError: Missing dependencies for serving.")
    assert symptom is not None
    assert symptom.kind == "other"
    assert transformers.read_symptom("INFO:     Application startup complete.") is None
