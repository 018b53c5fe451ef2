"""What is read from a gateway before it is measured."""

from __future__ import annotations

from benchmarks.fanout_gateway import prompts_per_call
from gateway.metrics import Metrics


def test_prompts_per_call_are_read_from_the_metrics() -> None:
    metrics = Metrics()
    metrics.prompts_per_call.set(64)

    assert prompts_per_call(metrics.exposition().decode()) == 64


def test_gateway_without_that_figure_asks_one_by_one() -> None:
    assert prompts_per_call("evalgate_prompts_total 5.0\n") == 1
