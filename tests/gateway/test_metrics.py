import time

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, Metrics
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
