"""Owns the Prometheus metrics: their names, units and buckets; one registry per application."""

from __future__ import annotations

import time
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics import exposition as openmetrics

from gateway.phase import Phase

CONTENT_TYPE = CONTENT_TYPE_LATEST
OPEN_METRICS = openmetrics.CONTENT_TYPE_LATEST
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered: the exemplar of what it took."""
# OpenMetrics' bound on an exemplar, less the label's name.
_MAX_EXEMPLAR_CHARS = 128 - len("request_id")
# One more series per counter, telling what evalgate_start_time_seconds tells once.
disable_created_metrics()  # type: ignore[no-untyped-call]
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240, 360)


class _Requests(Histogram):
    """A histogram of requests: each bucket names the last request that fell into it."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one request."""
        request_id = REQUEST_ID.get()
        if exemplar is None and 0 < len(request_id) <= _MAX_EXEMPLAR_CHARS:
            exemplar = {"request_id": request_id}
        super().observe(amount, exemplar)


class Metrics:
    """All metrics of one application, as attributes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "evalgate_requests", "HTTP requests", ["route", "status"], registry=registry
        )
        self.prompts = Counter("evalgate_prompts", "Prompts received", registry=registry)
        self.answers = Counter(
            "evalgate_answers",
            "Answers by outcome: whole, partial, blank, failed, unfinished",
            ["outcome"],
            registry=registry,
        )
        self.errors = Counter(
            "evalgate_prompt_errors", "Prompts that failed, by error", ["type"], registry=registry
        )
        self.prompts_in_flight = Gauge(
            "evalgate_prompts_in_flight", "Prompts at the engine now", registry=registry
        )
        self.open_prompts = Gauge(
            "evalgate_open_prompts", "Prompts accepted and not answered yet", registry=registry
        )
        self.tasks = Gauge("evalgate_tasks", "Tasks of the event loop", registry=registry)
        self.prompts_requeued = Counter(
            "evalgate_prompts_requeued",
            "Prompts put back because the engine was lost, busy or answered nonsense",
            registry=registry,
        )
        self.prompts_shortened = Counter(
            "evalgate_prompts_shortened",
            "Prompts shortened to fit into the engine's context",
            registry=registry,
        )
        self.queue_wait_s = Histogram(
            "evalgate_queue_wait_seconds",
            "From a batch's arrival to a prompt's call",
            buckets=_SECONDS,
            registry=registry,
        )
        self.prompt_s = Histogram(
            "evalgate_prompt_seconds",
            "A prompt's call to the engine, start to end",
            buckets=_SECONDS,
            registry=registry,
        )
        self.predict_s = _Requests(
            "evalgate_predict_seconds",
            "A /predict request, arrival to response",
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "evalgate_tokens", "Tokens as the engine counts them", ["kind"], registry=registry
        )
        self.characters = Counter(
            "evalgate_answer_characters", "Characters of answers", registry=registry
        )
        self.deadline_hits = Counter(
            "evalgate_deadline_hits", "Requests that the deadline cut off", registry=registry
        )
        self.clients_gone = Counter(
            "evalgate_clients_gone",
            "Requests whose client left before the answer",
            registry=registry,
        )
        self.engine_phase = Gauge(
            "evalgate_engine_phase",
            "1 for the phase that the gateway sees the engine in",
            ["phase"],
            registry=registry,
        )
        self.engine_losses = Counter(
            "evalgate_engine_losses", "Times a ready engine was lost", registry=registry
        )
        self.warmup_s = Gauge(
            "evalgate_warmup_seconds", "Duration of the last warm-up", registry=registry
        )
        self.prompts_per_call = Gauge(
            "evalgate_prompts_per_call",
            "Prompts that may share a call to the engine",
            registry=registry,
        )
        self.started = Gauge(
            "evalgate_start_time_seconds", "Start of the gateway, Unix time", registry=registry
        )
        self.started.set(time.time())
        self._prompt_tokens = self.tokens.labels("prompt")
        self._completion_tokens = self.tokens.labels("completion")
        self._untaken_tokens = 0
        self._uncounted_characters = 0
        self.set_phase(Phase.STARTING)

    def set_phase(self, phase: Phase) -> None:
        """Show one phase as current."""
        for each in Phase:
            self.engine_phase.labels(each.value).set(each is phase)

    def count_tokens(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add one completion's tokens."""
        self._prompt_tokens.inc(prompt_tokens)
        self._completion_tokens.inc(completion_tokens)
        self._untaken_tokens += completion_tokens

    def take_tokens(self) -> int:
        """Return the completion tokens counted since this was called last."""
        tokens, self._untaken_tokens = self._untaken_tokens, 0
        return tokens

    def count_characters(self, characters: int) -> None:
        """Add an answer's characters; at each prompt, so the counter itself gets them later."""
        self._uncounted_characters += characters

    def _count_all(self) -> None:
        self.characters.inc(self._uncounted_characters)
        self._uncounted_characters = 0

    def latencies(self) -> dict[str, dict[str, Any]]:
        """Return the histograms of calls and requests: bounds in seconds, counts between them."""
        return {
            "prompt_s": _distribution(self.prompt_s),
            "predict_s": _distribution(self.predict_s),
        }

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._count_all()
        return generate_latest(self.registry)

    def open_metrics(self) -> bytes:
        """Return all metrics in the OpenMetrics format, which has room for exemplars."""
        self._count_all()
        return bytes(openmetrics.generate_latest(self.registry))  # type: ignore[no-untyped-call]


def _distribution(histogram: Histogram) -> dict[str, Any]:
    [family] = histogram.collect()
    buckets = [each.value for each in family.samples if each.name.endswith("_bucket")]
    return {
        "bounds_s": list(_SECONDS),
        # One more than bounds: the last is of what took longer.
        "counts": [int(high - low) for low, high in pairwise([0.0, *buckets])],
        "sum_s": next(each.value for each in family.samples if each.name.endswith("_sum")),
    }
