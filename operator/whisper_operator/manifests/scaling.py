"""The HorizontalPodAutoscaler. It scales the WhisperEndpoint, never the Deployment, so that the number of pods has one source."""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.documents import metadata, plain
from whisper_operator.resource.choices import ScalingMetric
from whisper_operator.resource.spec import Autoscaling, Endpoint

POD_METRICS = {
    ScalingMetric.QUEUE: "whisper_queue_audio_seconds",
    ScalingMetric.RUNNING: "whisper_requests_running",
}
"""Metrics of the server that an adapter must add to the custom metrics API."""
BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 60},
            {"type": "Pods", "value": 2, "periodSeconds": 60},
        ],
    },
    "scaleDown": {
        # A pod takes minutes to load its model, so one that is removed too soon is missed for long.
        "stabilizationWindowSeconds": 600,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
    },
}


def make_autoscaler(endpoint: Endpoint) -> dict[str, Any] | None:
    """The autoscaler, if the spec has one and the endpoint is not suspended."""
    wanted = endpoint.spec.autoscaling
    if wanted is None or endpoint.spec.suspend:
        return None
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(endpoint),
        "spec": {
            "scaleTargetRef": {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": endpoint.name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [_metric(wanted, has_sidecars=bool(endpoint.spec.pod.sidecars))],
            "behavior": plain({**BEHAVIOR, **(wanted.behavior or {})}),
        },
    }


def _metric(wanted: Autoscaling, *, has_sidecars: bool) -> dict[str, Any]:
    if wanted.metric is ScalingMetric.CPU:
        target = {"type": "Utilization", "averageUtilization": wanted.target}
        if has_sidecars:  # of the server alone: a sidecar without a request would leave the pod without a metric
            of_server = {"name": "cpu", "container": names.CONTAINER, "target": target}
            return {"type": "ContainerResource", "containerResource": of_server}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    target = {"type": "AverageValue", "averageValue": str(wanted.target)}
    return {"type": "Pods", "pods": {"metric": {"name": POD_METRICS[wanted.metric]}, "target": target}}
