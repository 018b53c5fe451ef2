"""vLLM's command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.engines.base import Argv, Capacity
from launcher.engines.vllm import STABLE_FLAGS, argv, canary, capacity
from launcher.ladder import Rung
from launcher.model_parts import planned_parts
from launcher.settings import LauncherSettings, load_settings

NEW = STABLE_FLAGS | {
    "--no-enable-prefix-caching",
    "--no-enable-log-requests",
    "--disable-uvicorn-access-log",
    "--uvicorn-log-level",
    "--speculative-config",
    "--stream-interval",
    "--model-impl",
}
OLD = (NEW | {"--disable-log-requests"}) - {"--no-enable-log-requests"}


def build(
    environ: dict[str, str] | None = None,
    accelerator: Accelerator = Accelerator.NVIDIA,
    known: frozenset[str] | None = NEW,
) -> Argv:
    return argv(load_settings(environ or {}), Path("/e/python"), Path("/m"), accelerator, known)


def value(command: Argv, flag: str) -> str | None:
    args = command.args
    return args[args.index(flag) + 1] if flag in args else None


def test_the_command_starts_the_server_on_its_port_under_its_name() -> None:
    command = build({"ENGINE_PORT": "9001", "SERVED_MODEL_NAME": "m"})
    assert command.args[:11] == (
        *("/e/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/m"),
        *("--served-model-name", "m", "--host", "127.0.0.1", "--port", "9001"),
    )
    assert command.dropped == ()


@pytest.mark.parametrize(
    ("known", "flag"), [(NEW, "--no-enable-log-requests"), (OLD, "--disable-log-requests")]
)
def test_a_flag_that_moved_is_given_under_the_name_that_the_engine_knows(
    known: frozenset[str], flag: str
) -> None:
    log_flags = {"--no-enable-log-requests", "--disable-log-requests"}
    command = build(known=known)
    assert log_flags & set(command.args) == {flag}
    assert "--disable-uvicorn-access-log" in command.args
    assert value(command, "--uvicorn-log-level") == "warning"


@pytest.mark.parametrize(
    ("name", "text", "flag"),
    [
        ("DTYPE", "float16", "--dtype"),
        ("MAX_MODEL_LEN", "4096", "--max-model-len"),
        ("GPU_MEMORY_UTILIZATION", "0.5", "--gpu-memory-utilization"),
        ("TENSOR_PARALLEL_SIZE", "2", "--tensor-parallel-size"),
        ("VLLM_QUANTIZATION", "awq", "--quantization"),
        ("VLLM_KV_CACHE_DTYPE", "fp8", "--kv-cache-dtype"),
        ("VLLM_MAX_NUM_SEQS", "64", "--max-num-seqs"),
        ("VLLM_MAX_NUM_BATCHED_TOKENS", "8192", "--max-num-batched-tokens"),
        ("VLLM_LOAD_FORMAT", "dummy", "--load-format"),
    ],
)
def test_a_setting_becomes_its_flag_or_is_named_as_dropped(name: str, text: str, flag: str) -> None:
    assert value(build({name: text}), flag) == text
    command = build({name: text}, known=NEW - {flag})
    assert flag not in command.args
    assert command.dropped == (name,)


@pytest.mark.parametrize(
    ("name", "text", "flag"),
    [
        ("TRUST_REMOTE_CODE", "1", "--trust-remote-code"),
        ("ENFORCE_EAGER", "1", "--enforce-eager"),
        ("ENABLE_PREFIX_CACHING", "1", "--enable-prefix-caching"),
        ("ENABLE_PREFIX_CACHING", "0", "--no-enable-prefix-caching"),
    ],
)
def test_a_switch_becomes_its_flag(name: str, text: str, flag: str) -> None:
    assert flag in build({name: text}).args


def test_unset_switches_and_sizes_are_left_to_the_engine() -> None:
    args = build().args
    for flag in ("--trust-remote-code", "--enforce-eager", "--max-num-seqs", "--max-model-len"):
        assert flag not in args
    assert "--tensor-parallel-size" not in args


def test_a_cpu_gets_its_own_defaults() -> None:
    command = build(accelerator=Accelerator.CPU)
    assert value(command, "--dtype") == "bfloat16"
    assert "--enforce-eager" in command.args
    assert "--gpu-memory-utilization" not in command.args
    assert command.dropped == ()


def test_what_is_set_wins_over_a_cpus_defaults() -> None:
    environ = {"DTYPE": "float32", "VLLM_MAX_NUM_SEQS": "4", "VLLM_ENFORCE_EAGER": "0"}
    command = build(environ, Accelerator.CPU)
    assert (value(command, "--dtype"), value(command, "--max-num-seqs")) == ("float32", "4")
    assert "--enforce-eager" not in command.args


def test_a_share_of_the_cards_memory_is_told_to_have_no_effect_on_a_cpu() -> None:
    assert build({"GPU_MEMORY_UTILIZATION": "0.5"}, Accelerator.CPU).dropped == (
        "GPU_MEMORY_UTILIZATION",
    )


def test_ngram_speculation_is_configured_as_json() -> None:
    text = value(build({"ENABLE_SPECULATIVE_DECODING": "1"}), "--speculative-config")
    assert text is not None
    assert json.loads(text) == {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    }


@pytest.mark.parametrize(
    ("method", "folder", "expected"),
    [
        ("eagle3", "/d", {"method": "eagle3", "num_speculative_tokens": 4, "model": "/d"}),
        ("mtp", "", {"method": "mtp", "num_speculative_tokens": 4}),
    ],
)
def test_other_speculation_names_its_model(
    method: str, folder: str, expected: dict[str, object]
) -> None:
    environ = {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": method, "SPEC_MODEL_DIR": folder}
    text = value(build(environ), "--speculative-config")
    assert text is not None
    assert json.loads(text) == expected


def test_speculation_that_the_engine_does_not_know_is_named_as_dropped() -> None:
    command = build({"ENABLE_SPECULATIVE_DECODING": "1"}, known=STABLE_FLAGS)
    assert command.dropped == ("ENABLE_SPECULATIVE_DECODING",)


ADAPTER = {"SERVED_MODEL_NAME": "m", "LORA_DIR": "/a"}


def test_an_adapter_answers_under_the_served_name_and_its_model_under_another() -> None:
    command = build(ADAPTER)
    assert "--enable-lora" in command.args
    assert json.loads(value(command, "--lora-modules") or "") == {"name": "m", "path": "/a"}
    assert value(command, "--max-lora-rank") == "16"
    assert value(command, "--served-model-name") == "m-base"
    assert command.dropped == ()


def test_without_an_engine_for_it_the_adapters_model_answers_and_it_is_named_as_dropped() -> None:
    command = build(ADAPTER, known=NEW - {"--enable-lora"})
    assert "--lora-modules" not in command.args
    assert value(command, "--served-model-name") == "m"
    assert command.dropped == ("LORA_DIR",)
    assert build({"LORA_ID": "a/b"}, known=NEW - {"--enable-lora"}).dropped == ("LORA_ID",)


def test_parts_that_are_not_there_are_named_as_dropped() -> None:
    settings = load_settings({"ENABLE_SPECULATIVE_DECODING": "1"})
    parts = planned_parts(settings).without_speculation("no reason")
    command = argv(settings, Path("/e/python"), Path("/m"), Accelerator.NVIDIA, NEW, parts=parts)
    assert "--speculative-config" not in command.args
    assert command.dropped == ("ENABLE_SPECULATIVE_DECODING (no reason)",)


def test_without_an_answer_only_flags_of_every_version_are_given() -> None:
    command = build({"MAX_MODEL_LEN": "512", "ENABLE_PREFIX_CACHING": "0"}, known=None)
    given = {arg for arg in command.args[11:] if arg.startswith("--")}
    assert given <= STABLE_FLAGS
    assert "--max-model-len" in given
    assert command.dropped == ("ENABLE_PREFIX_CACHING",)


def test_extra_arguments_come_last_as_a_shell_reads_them_unchecked() -> None:
    command = build({"ENGINE_EXTRA_ARGS": "--new-flag 'a b' --dtype half"})
    assert command.args[-4:] == ("--new-flag", "a b", "--dtype", "half")


def test_no_secret_is_on_the_command_line() -> None:
    settings = LauncherSettings(engine_api_key="sesame")
    command = argv(settings, Path("/p"), Path("/m"), Accelerator.CPU, NEW)
    assert "sesame" not in " ".join(command.args)


def test_answers_are_streamed_in_pieces_where_the_engine_can() -> None:
    assert value(build(), "--stream-interval") == "16"
    assert value(build({"STREAM_INTERVAL": "1"}), "--stream-interval") == "1"


def test_pieces_that_the_engine_cannot_make_are_named_to_who_asked_for_them() -> None:
    assert build(known=STABLE_FLAGS).dropped == ()
    assert build({"STREAM_INTERVAL": "8"}, known=STABLE_FLAGS).dropped == ("STREAM_INTERVAL",)


RUNG = Rung("transformers", True, 4096, 64, 0.8, is_transformers=True)


def on_rung(rung: Rung, known: frozenset[str] | None = NEW, extra: str = "") -> tuple[str, ...]:
    settings = load_settings({"ENGINE_EXTRA_ARGS": extra})
    return argv(settings, Path("/p"), Path("/m"), Accelerator.NVIDIA, known, rung).args


def test_what_a_rung_changes_comes_last_and_so_wins() -> None:
    args = on_rung(RUNG, extra="--max-model-len 99999")
    assert args[-9:] == (
        *("--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "64"),
        *("--gpu-memory-utilization", "0.8", "--model-impl", "transformers"),
    )


def test_a_rung_gives_no_argument_that_the_engine_does_not_know() -> None:
    assert "--model-impl" not in on_rung(RUNG, known=None)
    assert "--enforce-eager" in on_rung(RUNG, known=None)


def test_the_capacity_is_read_from_the_command_line_whoever_put_it_there() -> None:
    assert capacity(on_rung(Rung()), NEW) == Capacity(memory_share=0.9, has_transformers=True)
    extra = "--max-model-len=512 --max_num_seqs 8 --gpu-memory-utilization 0.5"
    assert capacity(on_rung(Rung(), extra=extra), None) == Capacity(False, 512, 8, 0.5)
    assert capacity(on_rung(RUNG, extra=extra), None) == Capacity(True, 4096, 64, 0.8)


@pytest.mark.parametrize("extra", ["--max-model-len 8k --max-num-seqs auto", "--max-model-len"])
def test_what_is_no_number_is_unknown(extra: str) -> None:
    told = capacity(on_rung(Rung(), extra=f"--gpu-memory-utilization x {extra}"), NEW)
    assert told == Capacity(has_transformers=True)


def test_the_canary_asks_as_the_gateway_does() -> None:
    question = canary(LauncherSettings(served_model_name="m", engine_api_key="sesame"))
    assert question.path == "/v1/chat/completions"
    assert json.loads(question.body)["model"] == "m"
    assert question.headers == {"Authorization": "Bearer sesame"}
    assert "sesame" not in repr(question)
    assert canary(LauncherSettings()).headers == {}
