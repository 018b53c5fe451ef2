"""SGLang's command line, log and counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.accelerator import Accelerator
from launcher.engines import sglang
from launcher.engines.base import Argv, Counters
from launcher.engines.kind import Place
from launcher.engines.sglang import STABLE_FLAGS
from launcher.engines.sglang_log import read_symptom, tells_death
from launcher.engines.sglang_metrics import read_counters
from launcher.ladder import AS_CONFIGURED, Rung
from launcher.model_parts import Parts
from launcher.settings import load_settings

NEW = STABLE_FLAGS | {
    "--cuda-graph-backend-decode",
    "--model-impl",
    "--reasoning-parser",
    "--speculative-algorithm",
}


def build(
    environ: dict[str, str] | None = None,
    known: frozenset[str] | None = NEW,
    rung: Rung = AS_CONFIGURED,
    parts: Parts | None = None,
    accelerator: Accelerator = Accelerator.NVIDIA,
) -> Argv:
    place = Place(Path("/e/python"), Path("/m"), accelerator, known)
    settings = load_settings({"ENGINE": "sglang", **(environ or {})})
    return sglang.argv(settings, place, rung, parts or Parts())


def value(command: Argv, flag: str) -> str | None:
    args = command.args
    return args[args.index(flag) + 1] if flag in args else None


def test_the_command_starts_the_server_on_its_port_under_its_name() -> None:
    command = build({"ENGINE_PORT": "9001", "SERVED_MODEL_NAME": "m"})
    assert command.args[:11] == (
        *("/e/python", "-m", "sglang.launch_server", "--model-path", "/m"),
        *("--served-model-name", "m", "--host", "127.0.0.1", "--port", "9001"),
    )
    assert "--enable-metrics" in command.args
    assert command.dropped == ()


@pytest.mark.parametrize(
    ("name", "text", "flag"),
    [
        ("DTYPE", "float16", "--dtype"),
        ("MAX_MODEL_LEN", "4096", "--context-length"),
        ("GPU_MEMORY_UTILIZATION", "0.5", "--mem-fraction-static"),
        ("TENSOR_PARALLEL_SIZE", "2", "--tp-size"),
        ("VLLM_QUANTIZATION", "awq", "--quantization"),
        ("VLLM_KV_CACHE_DTYPE", "fp8_e5m2", "--kv-cache-dtype"),
        ("VLLM_MAX_NUM_SEQS", "64", "--max-running-requests"),
        ("VLLM_MAX_NUM_BATCHED_TOKENS", "8192", "--chunked-prefill-size"),
        ("VLLM_LOAD_FORMAT", "dummy", "--load-format"),
        ("REASONING_PARSER", "qwen3", "--reasoning-parser"),
        ("STREAM_INTERVAL", "4", "--stream-interval"),
    ],
)
def test_a_setting_becomes_its_flag_or_is_named_as_dropped(name: str, text: str, flag: str) -> None:
    assert value(build({name: text}), flag) == text
    command = build({name: text}, known=NEW - {flag})
    assert flag not in command.args
    assert command.dropped == (name,)


def test_memory_is_its_own_choice_unless_set() -> None:
    assert "--mem-fraction-static" not in build().args
    on_cpu = build({"GPU_MEMORY_UTILIZATION": "0.5"}, accelerator=Accelerator.CPU)
    assert "--mem-fraction-static" not in on_cpu.args


def test_switches_are_given_where_they_differ_from_its_own_choice() -> None:
    usual = build().args
    assert not {"--disable-radix-cache", "--trust-remote-code"} & set(usual)
    asked = build({"ENABLE_PREFIX_CACHING": "0", "TRUST_REMOTE_CODE": "1"}).args
    assert {"--disable-radix-cache", "--trust-remote-code"} <= set(asked)


@pytest.mark.parametrize(
    ("known", "flag"), [(NEW, "--cuda-graph-backend-decode"), (None, "--disable-cuda-graph")]
)
def test_graphs_are_switched_off_in_the_words_that_it_knows(
    known: frozenset[str] | None, flag: str
) -> None:
    command = build({"ENFORCE_EAGER": "1"}, known)
    assert flag in command.args
    assert sglang.capacity(command.args, known).is_eager
    assert flag in build(known=known, rung=Rung("eager", is_eager=True)).args


def test_a_rung_wins_over_the_settings_and_over_extra_arguments() -> None:
    rung = Rung("smaller", max_model_len=2048, max_num_seqs=16, memory_share=0.7)
    extra = {"ENGINE_EXTRA_ARGS": "--context-length 9999 --x y"}
    command = build({"MAX_MODEL_LEN": "4096", **extra}, rung=rung)
    told = sglang.capacity(command.args, NEW)
    assert (told.max_model_len, told.max_num_seqs, told.memory_share) == (2048, 16, 0.7)
    assert value(command, "--x") == "y"
    assert "--model-impl" in build(rung=Rung("transformers", is_transformers=True)).args


@pytest.mark.parametrize(("known", "has_it"), [(NEW, True), (STABLE_FLAGS, False), (None, False)])
def test_the_transformers_rung_is_there_where_it_knows_it(
    known: frozenset[str] | None, has_it: bool
) -> None:
    assert sglang.capacity((), known).has_transformers is has_it


@pytest.mark.parametrize(
    ("method", "algorithm"), [("ngram", "NGRAM"), ("eagle3", "EAGLE3"), ("draft", "STANDALONE")]
)
def test_guesses_go_by_its_own_names(method: str, algorithm: str) -> None:
    asked = {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": method, "SPEC_MODEL_DIR": "/d"}
    draft = None if method == "ngram" else Path("/d")
    command = build(asked, parts=Parts(draft=draft, is_speculating=True))
    assert value(command, "--speculative-algorithm") == algorithm
    assert value(command, "--speculative-draft-model-path") == (None if draft is None else "/d")


def test_guesses_that_it_has_no_algorithm_for_are_told() -> None:
    asked = {"ENABLE_SPECULATIVE_DECODING": "1", "SPEC_METHOD": "suffix"}
    command = build(asked, parts=Parts(is_speculating=True))
    assert "--speculative-algorithm" not in command.args
    assert command.dropped == ("ENABLE_SPECULATIVE_DECODING",)


def test_the_key_is_demanded() -> None:
    assert value(build({"ENGINE_API_KEY": "open-sesame"}), "--api-key") == "open-sesame"


@pytest.mark.parametrize(
    ("line", "kind", "share"),
    [
        (
            "[2026-10-30 10:00:00] RuntimeError: Not enough memory. "
            "Please try to increase --mem-fraction-static.",
            "memory",
            0.95,
        ),
        ("Exception: Capture cuda graph failed: CUDA out of memory", "graphs", None),
        ("[2026-10-30 10:00:00 TP0] Capture cuda graph begin. This can take", "capturing", None),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "graphs", None),
        ("ValueError: Model architectures ['X'] are not supported for now.", "final", None),
        ("KeyError: 'x'", "other", None),
    ],
)
def test_a_line_tells_why_a_start_failed(line: str, kind: str, share: float | None) -> None:
    symptom = read_symptom(line)
    assert symptom is not None
    assert (symptom.kind, symptom.memory_share) == (kind, share)


def test_most_lines_tell_nothing() -> None:
    assert read_symptom("[2026-10-30 10:00:00] Load weight end. avail mem=70 GB") is None


def test_the_scheduler_s_death_is_told() -> None:
    assert tells_death("[2026-10-30 10:00:00 TP0] Scheduler hit an exception: Traceback")
    assert not tells_death("Decode batch. #running-req: 3")


PAGE = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m",tp_rank="0"} 3.0
sglang:num_queue_reqs{model_name="m"} 2.0
sglang:generation_tokens_total{model_name="m"} 100.0
sglang:scheduler_process_cpu_seconds_total{model_name="m"} 7.5
"""


def test_counters_are_read_where_the_loop_counts_its_time() -> None:
    assert read_counters(PAGE) == Counters(in_flight=5, progress=107.5)


def test_a_page_that_could_show_a_stale_gauge_alone_is_no_judge() -> None:
    older = "\n".join(line for line in PAGE.splitlines() if "scheduler" not in line)
    assert read_counters(older) is None
    assert read_counters("") is None
