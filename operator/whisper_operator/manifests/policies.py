"""PodDisruptionBudget and NetworkPolicy of the pods."""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.documents import metadata, plain, pod_selector, present
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings


def make_disruption_budget(endpoint: Endpoint) -> dict[str, Any]:
    """One pod may be evicted at a time. A pod that is not ready never blocks a node drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(endpoint),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": pod_selector(endpoint),
        },
    }


def make_network_policy(endpoint: Endpoint, settings: Settings) -> dict[str, Any] | None:
    """HTTP for everyone, or for the peers in the spec; metrics for the endpoint's namespace and the monitoring namespace."""
    wanted = endpoint.spec.access.network_policy
    if not wanted.enabled:
        return None
    monitoring: list[dict[str, Any]] = [{"podSelector": {}}]
    if settings.monitoring_namespace:
        labels = {"kubernetes.io/metadata.name": settings.monitoring_namespace}
        monitoring.append({"namespaceSelector": {"matchLabels": labels}})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(endpoint),
        "spec": {
            "podSelector": pod_selector(endpoint),
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [_port(names.HTTP_PORT)], **present(**{"from": plain(wanted.from_)})},
                {"ports": [_port(names.METRICS_PORT)], "from": monitoring},
            ],
        },
    }


def _port(number: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": number}
