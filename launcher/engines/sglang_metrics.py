"""Owns what SGLang's Prometheus page tells about its work: pure.

Its gauges may keep the last value of a batch that is over. The time that its scheduler's loop
counts moves as long as that loop turns, idle or not, so that a stale gauge alone is no hang.
"""

from __future__ import annotations

from launcher.engines.base import Counters
from launcher.engines.prometheus import sums

_IN_FLIGHT = ("sglang:num_running_reqs", "sglang:num_queue_reqs")
# From 0.5.2x on; what lacks them is judged by its health route alone.
_LOOP = ("sglang:scheduler_process_cpu_seconds_total", "sglang:scheduler_idle_seconds_total")
_PROGRESS = (*_LOOP, "sglang:generation_tokens_total", "sglang:prompt_tokens_total")
_NAMES = frozenset((*_IN_FLIGHT, *_PROGRESS))


def read_counters(text: str) -> Counters | None:
    """Return the counts, summed over ranks; None when the page does not count the loop's time."""
    found = sums(text, _NAMES)
    if _IN_FLIGHT[0] not in found or not found.keys() & set(_LOOP):
        return None
    return Counters(
        in_flight=round(sum(found.get(name, 0.0) for name in _IN_FLIGHT)),
        progress=sum(found.get(name, 0.0) for name in _PROGRESS),
    )
