"""The PodMonitor, by which the Prometheus operator finds the pods' metrics."""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.metadata import metadata, pod_selector
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

ENDPOINT_SERIES_LABEL = "whisper_endpoint"
"""On all series of the pods: the endpoint's name. `endpoint` is taken by Prometheus' operator."""


def make_pod_monitor(endpoint: Endpoint, settings: Settings) -> dict[str, Any] | None:
    """The PodMonitor, unless the chart turned them off."""
    if not settings.pod_monitors:
        return None
    source = "__meta_kubernetes_pod_label_" + names.ENDPOINT_LABEL.translate(str.maketrans("./-", "___"))
    relabeling = {"action": "replace", "sourceLabels": [source], "targetLabel": ENDPOINT_SERIES_LABEL}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(endpoint, labels=settings.pod_monitor_labels),
        "spec": {
            "selector": pod_selector(endpoint),
            "podMetricsEndpoints": [{"port": names.METRICS_PORT_NAME, "path": "/metrics", "relabelings": [relabeling]}],
        },
    }
