"""What `manifests` writes, applied to a test cluster without the operator, and where the scheduler puts the pods."""

from __future__ import annotations

from typing import Any

from cluster_kit.cluster import Cluster, Document
from operator_kit.chosen import operator_settings
from operator_kit.endpoints import merged, parsed_endpoint
from whisper_operator.manifests import make_children

PODS = "whisper-operator.io/endpoint=speech"


def documents(
    spec: Document, namespace: str, *, served: frozenset[str] = frozenset(), **settings: Any
) -> list[Document]:
    """The children without their owner, which this cluster does not have."""
    endpoint = parsed_endpoint(spec, namespace=namespace)
    made = make_children(endpoint, operator_settings(**settings), served_kinds=served, ingress_controller="contour")
    for child in made:
        del child["metadata"]["ownerReferences"]
    return list(made)


def pods(cluster: Cluster, namespace: str) -> list[Document]:
    found = cluster.find("pods", namespace, PODS)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def scheduler_said(pod: Document) -> str:
    """Why a pod has no node; empty until the scheduler reports it."""
    said = [each for each in pod["status"].get("conditions", []) if each["type"] == "PodScheduled"]
    return str(said[0].get("message", "")) if said and said[0]["status"] == "False" else ""


def landed(cluster: Cluster, namespace: str, spec: Document, *, replicas: int) -> dict[str, int]:
    """How many pods each node gets, once each pod has been decided about."""
    cluster.apply(*documents(merged(spec, {"replicas": replicas}), namespace))

    def decided() -> list[Document] | None:
        found = pods(cluster, namespace)
        is_decided = len(found) == replicas and all(pod["spec"].get("nodeName") or scheduler_said(pod) for pod in found)
        return found if is_decided else None

    found = cluster.wait(decided, 60, "every pod has a node or a reason to have none")
    counts: dict[str, int] = {}
    for pod in found:
        if "nodeName" in pod["spec"]:
            counts[pod["spec"]["nodeName"]] = counts.get(pod["spec"]["nodeName"], 0) + 1
    return counts


def lands_on(cluster: Cluster, namespace: str, spec: Document, expected: dict[str, int]) -> None:
    """Two pods more than these nodes hold find no place, though other nodes have some."""
    assert landed(cluster, namespace, spec, replicas=sum(expected.values()) + 2) == expected
