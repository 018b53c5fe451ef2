import time

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, REQUEST_ID, Metrics
from gateway.phase import Phase


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Return every sample by its name and the values of its labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def test_fresh_metrics_say_that_the_engine_starts_and_nothing_happened() -> None:
    shown = samples(Metrics())
    assert shown["evalgate_engine_phase", "starting"] == 1
    assert shown["evalgate_prompts_total", ""] == 0
    assert shown["evalgate_tokens_total", "prompt"] == 0
    assert shown["evalgate_prompts_in_flight", ""] == 0


def test_exactly_one_phase_is_current() -> None:
    metrics = Metrics()
    for phase in Phase:
        metrics.set_phase(phase)
        shown = samples(metrics)
        current = [each for each in Phase if shown["evalgate_engine_phase", each.value]]
        assert current == [phase]


def test_tokens_are_counted_by_kind() -> None:
    metrics = Metrics()
    metrics.count_tokens(10, 3)
    metrics.count_tokens(5, 0)
    shown = samples(metrics)
    assert shown["evalgate_tokens_total", "prompt"] == 15
    assert shown["evalgate_tokens_total", "completion"] == 3


def test_two_applications_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.prompts.inc(7)
    assert samples(one)["evalgate_prompts_total", ""] == 7
    assert samples(other)["evalgate_prompts_total", ""] == 0


def test_the_start_is_told_once_in_unix_time() -> None:
    names = [name for name, _ in samples(Metrics())]
    assert abs(samples(Metrics())["evalgate_start_time_seconds", ""] - time.time()) < 60
    assert not [name for name in names if name.endswith("_created")]


def test_every_name_has_the_prefix_and_a_help_text() -> None:
    families = list(text_string_to_metric_families(Metrics().exposition().decode()))
    assert len(families) >= 15
    assert all(family.name.startswith("evalgate_") for family in families)
    assert all(family.documentation for family in families)


def test_durations_are_in_seconds_up_to_the_evaluators_patience() -> None:
    metrics = Metrics()
    metrics.predict_s.observe(359)
    shown = samples(metrics)
    assert shown["evalgate_predict_seconds_bucket", "240.0"] == 0
    assert shown["evalgate_predict_seconds_bucket", "360.0"] == 1


def test_the_content_type_is_prometheus_text() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_tokens_are_taken_once() -> None:
    metrics = Metrics()
    metrics.count_tokens(10, 3)
    metrics.count_tokens(10, 4)
    assert (metrics.take_tokens(), metrics.take_tokens()) == (7, 0)


def exemplars(metrics: Metrics) -> list[dict[str, str]]:
    text = metrics.open_metrics().decode()
    return [
        sample.exemplar.labels
        for family in openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    ]


def test_a_slow_request_can_be_found_in_the_log() -> None:
    metrics = Metrics()
    token = REQUEST_ID.set("run-42")
    metrics.predict_s.observe(3)
    REQUEST_ID.reset(token)
    assert exemplars(metrics) == [{"request_id": "run-42"}]


@pytest.mark.parametrize("request_id", ["", "x" * 128])
def test_an_id_that_is_no_exemplar_is_left_out(request_id: str) -> None:
    """OpenMetrics has a bound on an exemplar's length: over it, counting would fail."""
    metrics = Metrics()
    token = REQUEST_ID.set(request_id)
    metrics.predict_s.observe(3)
    REQUEST_ID.reset(token)
    assert exemplars(metrics) == []
    assert samples(metrics)["evalgate_predict_seconds_count", ""] == 1


def test_a_distribution_is_told_between_its_bounds() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.3, 0.4, 1000):
        metrics.prompt_s.observe(seconds)
    told = metrics.latencies()["prompt_s"]
    counts = dict(zip(told["bounds_s"], told["counts"], strict=False))
    assert (counts[0.01], counts[0.5], told["counts"][-1]) == (1, 2, 1)
    assert sum(told["counts"]) == 4
    assert told["sum_s"] == pytest.approx(1000.701)
