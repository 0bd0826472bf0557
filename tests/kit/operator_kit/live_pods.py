"""Pods of an endpoint as a real cluster shows them, and the states that their container can be in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from operator_kit.live_objects import NEW_SETTINGS, Document, at, condition, metadata
from whisper_operator import names


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
    """A pod without a node, and why; without a message the scheduler has not decided yet."""
    entry = [condition("PodScheduled", "False", "Unschedulable", words)] if words else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, annotations={names.SETTINGS_HASH_ANNOTATION: settings}),
        "spec": {"containers": [{"name": names.CONTAINER}]},
        "status": {"phase": "Pending", "conditions": entry},
    }


def failed(reason: str, message: str, name: str = "speech-5c9-zzzzz", *, ago: float = 620) -> Document:
    """A pod that its node evicted or rejected, this many seconds ago."""
    document = pod(name, up(ready=False), phase="Failed", created=ago + 100, reason=reason, message=message)
    entry = condition("DisruptionTarget", "True", "TerminationByKubelet", message)
    document["status"]["conditions"].append({**entry, "lastTransitionTime": at(ago)})
    return document


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
