"""Owns what vLLM's Prometheus page tells about its work: a pure scan of the few lines needed."""

from __future__ import annotations

from launcher.engines.base import Counters
from launcher.engines.prometheus import sums

METRICS_PATH = "/metrics"

# The same names from vLLM 0.6 to 0.32.
_IN_FLIGHT = ("vllm:num_requests_running", "vllm:num_requests_waiting")
# A step of a long prefill moves the first, and the others where a version lacks it.
_PROGRESS = (
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
)
_NAMES = frozenset((*_IN_FLIGHT, *_PROGRESS))


def read_counters(text: str) -> Counters | None:
    """Return the counts, summed over engines and models; None when one of the kinds is missing."""
    found = sums(text, _NAMES)
    if _IN_FLIGHT[0] not in found or not found.keys() & set(_PROGRESS):
        return None
    return Counters(
        in_flight=round(sum(found.get(name, 0.0) for name in _IN_FLIGHT)),
        progress=sum(found.get(name, 0.0) for name in _PROGRESS),
    )
