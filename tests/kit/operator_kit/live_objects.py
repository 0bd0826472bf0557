"""Children of an endpoint as a real cluster shows them: Deployments, pods, claims, routes, autoscalers, Events.

Only what a controller or a kubelet writes is here; what the operator writes is in `whisper_operator.manifests`. Texts are
those of Kubernetes 1.35.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


# Deployments


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
    observed: int | None = None,
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
            "observedGeneration": generation if observed is None else observed,
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


# Pods


def pod(
    name: str = "speech-5c9-aaaaa",
    state: Document | None = None,
    *,
    ready: bool | None = None,
    node: str = "node-1",
    settings: str = NEW_SETTINGS,
    phase: str = "",
    terminating: bool = False,
    created: float = 600,
    conditions: Sequence[Document] = (),
    has_sandbox: bool = True,
    resources: Mapping[str, Any] | None = None,
    image: str = "registry.example.com/whisper-server:1",
    **status: Any,
) -> Document:
    """A pod on a node, its container in `state` (see below; default: up). `conditions` replace or add.

    `has_sandbox`: volumes are mounted and the network is there.
    """
    container = {"name": names.CONTAINER, "image": image, **(state or up())}
    is_up = bool(container["ready"]) if ready is None else ready
    text = "True" if is_up else "False"
    known = {
        entry["type"]: entry
        for entry in (
            condition("PodReadyToStartContainers", "True" if has_sandbox else "False"),
            condition("Initialized", "True"),
            condition("Ready", text, "" if is_up else "ContainersNotReady"),
            condition("ContainersReady", text, "" if is_up else "ContainersNotReady"),
            condition("PodScheduled", "True"),
            *conditions,
        )
    }
    running = phase or ("Running" if container["state"].get("running") or container["restartCount"] else "Pending")
    about = metadata(name, creationTimestamp=at(created), annotations={names.SETTINGS_HASH_ANNOTATION: settings}) | (
        {"deletionTimestamp": at(5)} if terminating else {}
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {
            "nodeName": node,
            "containers": [{"name": names.CONTAINER, "image": image, "resources": dict(resources or {})}],
        },
        "status": {
            "phase": running,
            "startTime": at(created),
            "conditions": list(known.values()),
            "containerStatuses": [container],
            **status,
        },
    }


def unscheduled(words: str, name: str = "speech-5c9-aaaaa", *, settings: str = NEW_SETTINGS) -> Document:
    """A pod without a node, and why; no words: the scheduler has not looked at it."""
    entry = [condition("PodScheduled", "False", "Unschedulable", words)] if words else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, annotations={names.SETTINGS_HASH_ANNOTATION: settings}),
        "spec": {"containers": [{"name": names.CONTAINER}]},
        "status": {"phase": "Pending", "conditions": entry},
    }


def failed(reason: str, message: str, name: str = "speech-5c9-zzzzz", *, ago: float = 620) -> Document:
    """A pod that its node evicted or did not take, so many seconds ago."""
    document = pod(name, up(ready=False), phase="Failed", created=ago + 100, reason=reason, message=message)
    entry = condition("DisruptionTarget", "True", "TerminationByKubelet", message)
    document["status"]["conditions"].append({**entry, "lastTransitionTime": at(ago)})
    return document


# States of the container of a pod


def up(*, ready: bool = True, started: bool = True) -> Document:
    return {
        "ready": ready,
        "started": started,
        "restartCount": 0,
        "state": {"running": {"startedAt": at(300)}},
        "lastState": {},
    }


def loading() -> Document:
    return up(ready=False, started=False)


def waiting(reason: str, message: str = "") -> Document:
    return {
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": {},
    }


def ended(
    code: int = 1,
    message: str = "",
    *,
    reason: str = "Error",
    ran_s: float = 20,
    restarts: int = 3,
    backs_off: bool = True,
) -> Document:
    """A container that ended, and waits to be started again (or has been: backs_off=False)."""
    end = {
        "exitCode": code,
        "reason": reason,
        "message": message,
        "startedAt": at(100 + ran_s),
        "finishedAt": at(100),
        "containerID": "containerd://0123",
    }
    words = "back-off 40s restarting failed container=server pod=speech-5c9-aaaaa_team-a(uid)"
    state = (
        {"waiting": {"reason": "CrashLoopBackOff", "message": words}}
        if backs_off
        else {"running": {"startedAt": at(60)}}
    )
    return {
        "ready": False,
        "started": False,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": end},
    }


# Other children


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


def http_route(*parents: Document, generation: int = 1) -> Document:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(NAME, generation=generation),
        "status": {"parents": list(parents)},
    }


def parent(name: str, *conditions: Document, observed: int = 1, **ref: Any) -> Document:
    """What a Gateway's controller says of a route."""
    return {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name, **ref},
        "controllerName": "example.com/gateway",
        "conditions": [{**entry, "observedGeneration": observed} for entry in conditions],
    }


def autoscaler(*conditions: Document) -> Document:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
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
