"""Alerts and dashboard ask for what is measured: every metric that they name exists, with the labels that they name."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

import whisper_operator.metrics
import whisper_server.metrics
from chart_kit.charts import OPERATOR
from whisper_operator.metrics import EndpointState
from whisper_operator.status.reasons import REASONS

ALERTS = yaml.safe_load((OPERATOR / "files/monitoring/alerts.yaml").read_text())
DASHBOARD = json.loads((OPERATOR / "files/monitoring/dashboard.json").read_text())
BY_PROMETHEUS = {"namespace", "pod", "job", "container", "instance", "le"}
"""Labels of every series of a PodMonitor, and of the buckets of histograms."""


def measured() -> dict[str, set[str]]:
    """Names of all series, with their labels."""
    server, operator = whisper_server.metrics.Metrics(), whisper_operator.metrics.Metrics()
    server.watch_worker_deaths(lambda: 0)
    operator.watch_endpoints(lambda: [EndpointState("team-a", "speech", "True", "Ready")])
    return {**series(server.registry), **series(operator.registry)}


def series(registry: CollectorRegistry) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for collector in registry._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        for metric in collector.collect():
            for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""]):
                found[metric.name + suffix] = labels | {name for sample in metric.samples for name in sample.labels}
    return found


def queries() -> Iterator[str]:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def test_every_metric_that_is_asked_for_is_measured() -> None:
    known = measured()
    asked = {name for query in queries() for name in re.findall(r"\bwhisper_\w+", query)}
    assert asked - set(known) == set()
    assert len(asked) > 20


def test_every_label_that_is_asked_for_is_there() -> None:
    known = measured()
    for query in queries():
        metrics = re.findall(r"\bwhisper_\w+", query)
        labels = {label for inside in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)[=!]", inside)}
        labels |= {
            label.strip() for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in inside.split(",")
        }
        assert labels - BY_PROMETHEUS - set().union(*(known[name] for name in metrics)) == set(), query


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in measured() if name.startswith("whisper_")}
    assert {name for name in ours if name not in shown} == {"whisper_operator_build_info"}


def test_reasons_in_alerts_are_reasons_of_conditions() -> None:
    for query in queries():
        for words in re.findall(r'whisper_operator_endpoints\{[^}]*reason[=!]~"([^"]*)"', query):
            assert set(words.split("|")) <= set(REASONS)


def test_alerts_say_what_is_wrong_and_how_bad() -> None:
    seen = set()
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert set(rule["annotations"]) == {"summary", "description"}
            texts = " ".join(rule["annotations"].values())
            kept = set(re.findall(r"\$labels\.(\w+)", texts))
            by: set[str] = set()
            for inside in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
                by |= {label.strip() for label in inside.split(",")}
            assert kept <= by, rule["alert"]
            seen.add(rule["alert"])
    assert len(seen) == sum(len(group["rules"]) for group in ALERTS["groups"])


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        ids.add(panel["id"])
    assert len(ids) == len(DASHBOARD["panels"])
