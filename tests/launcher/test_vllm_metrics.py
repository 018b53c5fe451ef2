"""What vLLM's metrics tell about its work."""

from __future__ import annotations

import pytest

from launcher.engines.base import Counters
from launcher.engines.vllm_metrics import read_counters

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_running{engine="1",model_name="a b"} 1.0
vllm:num_requests_waiting{engine="0",model_name="a b"} 7.0
vllm:num_requests_waiting_by_reason{reason="capacity"} 99.0
vllm:prompt_tokens_total{engine="0",model_name="a b"} 1e+03
vllm:prompt_tokens_created{engine="0"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="a b"} 200.0
vllm:iteration_tokens_total_bucket{le="1.0"} 5.0
vllm:iteration_tokens_total_count{engine="0",model_name="a b"} 40.0
vllm:request_success_total{finished_reason="stop"} 5.0
vllm:request_success_total{finished_reason="length"} 1.0
"""


def test_counts_are_summed_over_engines_and_reasons() -> None:
    assert read_counters(PAGE) == Counters(in_flight=11, progress=1246.0)


@pytest.mark.parametrize(
    "name",
    ["prompt_tokens_total", "generation_tokens_total", "iteration_tokens_total_count"],
)
def test_any_step_is_progress(name: str) -> None:
    before, after = PAGE, PAGE + f'vllm:{name}{{engine="1"}} 1.0\n'
    assert read_counters(before) != read_counters(after)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "sglang:num_running_reqs 4\n",
        "vllm:num_requests_running 4\n",
        "vllm:generation_tokens_total 4\n",
    ],
)
def test_a_page_that_lacks_a_kind_of_count_tells_nothing(text: str) -> None:
    assert read_counters(text) is None


def test_a_value_that_is_no_number_counts_nothing() -> None:
    text = "vllm:num_requests_running x\nvllm:generation_tokens_total 4\n"
    assert read_counters(text) == Counters(in_flight=0, progress=4.0)
