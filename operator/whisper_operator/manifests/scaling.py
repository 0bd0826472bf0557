"""The HorizontalPodAutoscaler, or KEDA's ScaledObject. It scales the WhisperEndpoint, never the Deployment, so that the number of pods has one source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whisper_operator import names
from whisper_operator.kinds import SCALED_OBJECT
from whisper_operator.manifests.documents import metadata, plain
from whisper_operator.manifests.services import ENDPOINT_SERIES_LABEL
from whisper_operator.resource.choices import ScalingMetric
from whisper_operator.resource.spec import Autoscaling, Endpoint

POD_METRICS = {
    ScalingMetric.QUEUE: "whisper_queue_audio_seconds",
    ScalingMetric.RUNNING: "whisper_requests_running",
    ScalingMetric.SESSIONS: "whisper_realtime_sessions",
}
"""Metrics of the server that KEDA asks Prometheus for, or that an adapter must add to the custom metrics API."""
BEHAVIOR: Mapping[str, Mapping[str, Any]] = {
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


def make_autoscaler(endpoint: Endpoint, prometheus_url: str = "") -> dict[str, Any] | None:
    """The autoscaler, if the spec has one and the endpoint is not suspended.

    Where KEDA can ask `prometheus_url` for a metric of the server, it is a ScaledObject, from which KEDA makes a
    HorizontalPodAutoscaler of its own.
    """
    wanted = endpoint.spec.autoscaling
    if wanted is None or endpoint.spec.suspend:
        return None
    own = wanted.behavior or {}
    # An absent part of a direction would get Kubernetes' default, which takes all surplus pods away within 15 s.
    behavior = plain({way: {**parts, **(own.get(way) or {})} for way, parts in BEHAVIOR.items()})
    target = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": endpoint.name}
    if prometheus_url and wanted.metric is not ScalingMetric.CPU:
        return {
            "apiVersion": SCALED_OBJECT.api_version,
            "kind": SCALED_OBJECT.kind,
            "metadata": metadata(endpoint),
            "spec": {
                "scaleTargetRef": target,
                "minReplicaCount": wanted.min_replicas,
                "maxReplicaCount": wanted.max_replicas,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                "triggers": [_trigger(endpoint, wanted, prometheus_url)],
            },
        }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(endpoint),
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [_metric(wanted, has_sidecars=bool(endpoint.spec.pod.sidecars))],
            "behavior": behavior,
        },
    }


def _trigger(endpoint: Endpoint, wanted: Autoscaling, server: str) -> dict[str, Any]:
    """The sum over the pods; as an average value, KEDA's autoscaler divides it by their number."""
    series = (
        f'{POD_METRICS[wanted.metric]}{{namespace="{endpoint.namespace}",{ENDPOINT_SERIES_LABEL}="{endpoint.name}"}}'
    )
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {"serverAddress": server, "query": f"sum({series})", "threshold": str(wanted.target)},
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
