"""Every Prometheus metric of the operator, in its own registry.

Only the metrics; other modules update them. Nothing is global, so that two operators can run in one process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whisper_runtime.metrics import PrefixedMetrics

_SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class EndpointState(NamedTuple):
    """The condition Ready of an endpoint: `status` is True, False or Unknown."""

    namespace: str
    name: str
    status: str
    reason: str


class _Endpoints(Collector):
    def __init__(self, states: Callable[[], Iterable[EndpointState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        states = sorted(self._states())
        text = "WhisperEndpoints, by status and reason of their condition Ready"
        family = GaugeMetricFamily("whisper_operator_endpoints", text, labels=["ready", "reason"])
        for labels, count in sorted(Counter((one.status, one.reason) for one in states).items()):
            family.add_metric(labels, count)
        yield family
        # Not `namespace` and `endpoint`: those of a scraped series are the operator's own.
        text = "1 while the condition Ready of a WhisperEndpoint is True, else 0"
        each = GaugeMetricFamily(
            "whisper_operator_endpoint_ready", text, labels=["endpoint_namespace", "endpoint_name", "reason"]
        )
        for one in states:
            each.add_metric([one.namespace, one.name, one.reason], one.status == "True")
        yield each


class Metrics(PrefixedMetrics):
    """Counters, gauges and histograms as attributes; every name begins with `whisper_operator_`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__("whisper_operator_", registry)
        self.build_info = self.gauge("build_info", "Always 1; the version is in the label", ["version"])
        self.leader = self.gauge("leader", "1 while this replica is the leader")
        self.reconciles = self.counter(
            "reconciles",
            "Reconciliations: done, unchanged, refused (by the API server), failed (will be retried), gone",
            ["result"],
        )
        self.reconcile_seconds = self.histogram(
            "reconcile_seconds",
            "Duration of reconciliations that had something to do, until the status was written",
            buckets=_SECONDS_BUCKETS,
        )
        self.applies = self.counter("applies", "Children and statuses written, by kind", ["kind", "result"])
        self.deletes = self.counter("deletes", "Children deleted, by kind", ["kind"])
        self.drifts = self.counter("drifts", "Children whose drift was reverted, by kind", ["kind"])
        self.api_errors = self.counter("api_errors", "Requests that the API server refused or did not answer", ["code"])
        self.watch_events = self.counter("watch_events", "Watch events received, by kind", ["kind"])
        self.missed_events = self.counter(
            "missed_events", "Changes that a resync found and no watch event reported, by kind", ["kind"]
        )
        self.image_rollout_endpoints = self.gauge(
            "image_rollout_endpoints", "Endpoints in a staged rollout of a new default image, by stage", ["stage"]
        )
        self.queue_depth = self.gauge("queue_depth", "Endpoints waiting for a worker")
        self.watch_age_seconds = self.gauge("watch_age_seconds", "Time since the quietest watch received data")

    def observe_image_rollout(self, n_by_stage: Mapping[str, int]) -> None:
        for stage in ("waiting", "rolling", "failed"):
            self.image_rollout_endpoints.labels(stage).set(n_by_stage.get(stage, 0))

    def watch(self, depth: Callable[[], float], watch_age_s: Callable[[], float]) -> None:
        """Calls these at every scrape."""
        self.queue_depth.set_function(depth)
        self.watch_age_seconds.set_function(watch_age_s)

    def watch_endpoints(self, states: Callable[[], Iterable[EndpointState]]) -> None:
        """Calls this at every scrape."""
        self.registry.register(_Endpoints(states))
