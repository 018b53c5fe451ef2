from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.checks import memory
from launcher.checks.memory import Demand, Device
from launcher.checks.result import Status
from tests.launcher.checks.test_kv_cache import QWEN3_8B

GIB = 2**30
C500 = Device("C500 64 GB x 0.9", 64 * GIB, 0.9)
DEMAND = Demand(
    weights_bytes=16 * GIB,
    config=QWEN3_8B,
    dtype="auto",
    kv_cache_dtype=None,
    context_len=4096,
    concurrency=256,
    max_new_tokens=512,
)


def test_the_sequences_that_fit_are_counted() -> None:
    row = memory.check(C500, DEMAND)
    # 64 x 0.9 - 16 - 2 = 39.6 GiB of 144 KiB each
    assert row.status is Status.OK
    assert "39.6 GiB for the KV cache (144.0 KiB a token)" in row.observed
    assert "70 sequences of all 4,096 tokens, 281 of 1,024" in row.observed
    assert row.limit == "57.6 GiB of C500 64 GB x 0.9"


def test_more_at_once_than_fit_is_a_warning() -> None:
    row = memory.check(C500, replace(DEMAND, concurrency=300))
    assert row.status is Status.WARNING
    assert "281 of 1,024, fewer than the 300 under way" in row.observed


def test_weights_that_do_not_fit_are_a_failure() -> None:
    row = memory.check(C500, replace(DEMAND, weights_bytes=56 * GIB))
    assert row.status is Status.FAILURE
    assert "nothing is left for the KV cache" in row.observed


def test_a_context_that_does_not_fit_is_a_failure_with_the_value_that_would() -> None:
    row = memory.check(C500, replace(DEMAND, context_len=1_000_000))
    assert row.status is Status.FAILURE
    assert "288,358 tokens, less than one sequence of 1,000,000" in row.observed
    assert "MAX_MODEL_LEN to at most 288358" in row.advice


def test_a_draft_keeps_a_cache_of_its_own() -> None:
    row = memory.check(C500, replace(DEMAND, part_configs=(QWEN3_8B, {})))
    assert "(288.0 KiB a token)" in row.observed


def test_a_quarter_of_the_weights_leaves_room() -> None:
    config = {**QWEN3_8B, "quantization_config": {"quant_method": "awq"}}
    row = memory.check(C500, replace(DEMAND, weights_bytes=4 * GIB, config=config))
    assert "weights 4.0 GiB, 51.6 GiB for the KV cache" in row.observed


@pytest.mark.parametrize("config", [{}, {**QWEN3_8B, "layer_types": ["mamba"] * 36}])
def test_a_model_whose_cache_is_not_known_is_weighed_only(config: dict[str, Any]) -> None:
    row = memory.check(C500, replace(DEMAND, config=config, context_len=None))
    assert row.status is Status.OK
    assert "config.json does not tell how many sequences fit" in row.observed


def test_a_model_without_a_declared_context_is_counted_by_usual_lengths() -> None:
    row = memory.check(C500, replace(DEMAND, context_len=None))
    assert "281 of 1,024" in row.observed
    assert "of all" not in row.observed


def test_a_usual_question_is_no_longer_than_the_context() -> None:
    assert replace(DEMAND, context_len=300).usual_len == 300


def test_on_a_processor_the_kv_cache_has_the_size_that_is_set() -> None:
    free = Device("free memory", 8 * GIB, 1.0, kv_cache_bytes=GIB)
    small = replace(DEMAND, weights_bytes=GIB, concurrency=1)
    assert "1.0 GiB for the KV cache" in memory.check(free, small).observed
    assert memory.check(free, replace(small, weights_bytes=8 * GIB)).status is Status.FAILURE


@pytest.mark.parametrize(("device", "demand"), [(None, DEMAND), (C500, None)])
def test_what_is_not_known_is_told(device: Device | None, demand: Demand | None) -> None:
    row = memory.check(device, demand, "because")
    assert (row.status, row.observed) == (Status.SKIPPED, "not checked: because")


def test_free_memory_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    assert memory.available_bytes(file) is None
    file.write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert memory.available_bytes(file) == 2**21
    file.write_text("MemTotal: 9 kB\n")
    assert memory.available_bytes(file) is None
