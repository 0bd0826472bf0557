"""What a Kubernetes object's status says: conditions, and how a pod's first container fares.

Pure functions of documents, which never raise for what is not there yet.
"""

from __future__ import annotations

from typing import Any


def condition(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of this type; one with the status "none" where there is none."""
    conditions: list[dict[str, Any]] = document.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {"type": kind, "status": "none"})


def is_true(document: dict[str, Any], kind: str) -> bool:
    return bool(condition(document, kind)["status"] == "True")


def is_ready(document: dict[str, Any]) -> bool:
    """Of pods and nodes."""
    return is_true(document, "Ready")


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of the first container; empty before it has one."""
    statuses: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses", [])
    return statuses[0] if statuses else {}


def waits_for(pod: dict[str, Any]) -> str:
    """Why the first container waits, such as CrashLoopBackOff; empty where it does not."""
    reason: str = container(pod).get("state", {}).get("waiting", {}).get("reason", "")
    return reason
