"""The dashboard and the alert rules against what /metrics tells: no name may be made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes import script
from tests.fakes.running import FakeEngine
from tests.fakes.script import Rule
from tests.gateway.serving import serving, settings_for

pytestmark = pytest.mark.anyio
FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
METRIC = re.compile(r"\b(evalgate_\w+)(?:\{([^}]*)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    return document


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in alerts())]


def labels_of(matchers: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, operator and value of each matcher."""
    yield from re.findall(r'(\w+)\s*(=~|=|!=)\s*"([^"]*)"', matchers)


async def exposed(engine: FakeEngine) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """Return every series of a gateway that has met most of what can happen, by its name."""
    await engine.set_script([Rule(script.Status(400, "no"), match="bad")])
    async with serving(settings_for(engine.url)) as gateway:
        await gateway.predict(["one", "bad", ""])
        text = (await gateway.get("/metrics")).text
    series: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, set()).add(tuple(sorted(sample.labels.items())))
    return series


async def test_every_metric_and_label_that_is_named_is_there(engine: FakeEngine) -> None:
    series = await exposed(engine)
    named = 0
    for expression in expressions():
        for name, matchers in METRIC.findall(expression):
            assert name in series, expression
            known = [dict(labels) for labels in series[name]]
            for label, operator, value in labels_of(matchers):
                if label == "instance":  # Prometheus's own
                    continue
                values = {labels[label] for labels in known if label in labels}
                wanted = set(value.split("|")) if operator == "=~" else {value}
                assert wanted <= values, f"{expression}: {label} is one of {values}"
            named += 1
        grouped = {label.strip() for by in BY.findall(expression) for label in by.split(",")}
        names = {label for found in METRIC.findall(expression) for label in _labels(series, found)}
        assert grouped - {"job", "instance"} <= names, expression
    assert named > 30


def _labels(
    series: dict[str, set[tuple[tuple[str, str], ...]]], found: tuple[str, str]
) -> set[str]:
    return {label for labels in series[found[0]] for label, _ in labels}


def test_counters_are_looked_at_as_rates() -> None:
    """The bare value of a counter in an alert would fire for ever after the first event."""
    for rule in alerts():
        for name, _ in METRIC.findall(rule["expr"]):
            if name.endswith("_total"):
                before = rule["expr"].partition(name)[0]
                assert re.search(r"(rate|increase)\($", before), rule["alert"]


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) >= 6
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_tests_of_the_rules_are_of_rules_that_are_there() -> None:
    document = yaml.safe_load((FOLDER / "alerts.test.yml").read_text(encoding="utf-8"))
    tested = {each["alertname"] for test in document["tests"] for each in test["alert_rule_test"]}
    assert tested <= {rule["alert"] for rule in alerts()}
    assert document["rule_files"] == ["alerts.yml"]


def test_the_dashboard_works_with_any_prometheus_and_its_panels_do_not_overlap() -> None:
    shown = dashboard()
    variables = {each["name"]: each for each in shown["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert shown["schemaVersion"] >= 36
    assert "id" not in shown, "Grafana gives it one when it is loaded"
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in shown["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["type"] in ("stat", "timeseries")
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in shown["panels"]], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
