"""Children of an endpoint as a real cluster shows them: Deployments, claims, routes, autoscalers, Events. Pods: `live_pods`.

Only what a controller or a kubelet writes is here; what the operator writes is in `whisper_operator.manifests`. Texts are
those of Kubernetes 1.35.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from whisper_operator import names

Document = dict[str, Any]

NOW = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)
NAMESPACE, NAME = "team-a", "speech"
OLD_SETTINGS, NEW_SETTINGS = "settings-1", "settings-2"


def at(seconds_ago: float) -> str:
    """A time as Kubernetes writes it."""
    return (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str, reason: str = "", message: str = "", **more: Any) -> Document:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(60), **more}


def metadata(name: str, **more: Any) -> Document:
    return {
        "name": name,
        "namespace": NAMESPACE,
        "labels": names.labels_of(NAME),
        "creationTimestamp": at(600),
        "uid": f"uid-of-{name}",
        **more,
    }


def deployment(
    replicas: int = 1,
    *,
    ready: int = 0,
    updated: int | None = None,
    total: int | None = None,
    available: bool | None = None,
    progressing: Document | None = None,
    failure: str = "",
    generation: int = 1,
    snapshot: int | None = None,
    settings: str = NEW_SETTINGS,
) -> Document:
    """`ready` of `replicas` pods are; all are up to date and made unless `updated` or `total` say otherwise."""
    suffices = ready >= replicas if available is None else available
    has = "has" if suffices else "does not have"
    conditions = [
        condition(
            "Available",
            "True" if suffices else "False",
            "MinimumReplicasAvailable" if suffices else "MinimumReplicasUnavailable",
            f"Deployment {has} minimum availability.",
        ),
        progressing or progress(done=ready == replicas),
    ]
    if failure:
        conditions.append(condition("ReplicaFailure", "True", "FailedCreate", failure))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME, generation=generation),
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"annotations": {names.SETTINGS_HASH_ANNOTATION: settings}}},
        },
        "status": {
            "observedGeneration": generation if snapshot is None else snapshot,
            "replicas": replicas if total is None else total,
            "updatedReplicas": replicas if updated is None else updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": replicas - ready,
            "conditions": conditions,
        },
    }


def progress(*, done: bool = False) -> Document:
    if done:
        return condition("Progressing", "True", "NewReplicaSetAvailable", 'ReplicaSet "x" has successfully progressed.')
    return condition("Progressing", "True", "ReplicaSetUpdated", 'ReplicaSet "x" is progressing.')


def deadline_exceeded() -> Document:
    return condition("Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "x" has timed out progressing.')


def claim(phase: str = "Bound", *, terminating: bool = False, storage_class: str | None = "standard") -> Document:
    spec = {"storageClassName": storage_class} if storage_class else {}
    about = metadata(f"{NAME}-cache") | ({"deletionTimestamp": at(5)} if terminating else {})
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": about,
        "spec": spec,
        "status": {"phase": phase},
    }


def ingress(*addresses: Document) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(NAME),
        "status": {"loadBalancer": {"ingress": list(addresses)} if addresses else {}},
    }


def ingress_class(name: str) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": f"example.com/{name}"},
    }


def service() -> Document:
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata("speech"), "spec": {}}


def endpoint_slice(of_service: str = "speech", *, ready: bool = True) -> Document:
    about = metadata("speech-x7k2p", labels={"kubernetes.io/service-name": of_service})
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": about, "endpoints": endpoints}


def http_route(*parents: Document, generation: int = 1) -> Document:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(NAME, generation=generation),
        "status": {"parents": list(parents)},
    }


def parent(name: str, *conditions: Document, snapshot: int = 1, **ref: Any) -> Document:
    """What a Gateway's controller says of a route."""
    return {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name, **ref},
        "controllerName": "example.com/gateway",
        "conditions": [{**entry, "observedGeneration": snapshot} for entry in conditions],
    }


def autoscaler(*conditions: Document) -> Document:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(NAME),
        "status": {"conditions": list(conditions)},
    }


def scaled_object(*conditions: Document) -> Document:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(NAME),
        "status": {"conditions": list(conditions)},
    }


def event(reason: str, message: str, *, ago: float = 20, type_: str = "Warning") -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(f"event-{reason.lower()}"),
        "type": type_,
        "reason": reason,
        "message": message,
        "lastTimestamp": at(ago),
    }
