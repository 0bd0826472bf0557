"""Pods and Deployments that PodSecurity `restricted` lets in, for tests that need some to put on a node.

The operator's own workloads are not written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster_kit.simulated_nodes import GPU

TOLERATES_GPU_TAINT = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}


def pod(
    name: str,
    namespace: str,
    *,
    course: Mapping[str, str] | None = None,
    gpus: int = 0,
    restart: str = "Always",
    **spec: Any,
) -> dict[str, Any]:
    """`course` has annotations of `simulated_pods`; `spec` has further fields of the pod's."""
    metadata = {"name": name, "namespace": namespace, "annotations": dict(course or {}), "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _spec(gpus, restart) | spec}


def deployment(
    name: str, namespace: str, *, replicas: int = 1, course: Mapping[str, str] | None = None, gpus: int = 0
) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels, "annotations": dict(course or {})}, "spec": _spec(gpus, "Always")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def _spec(gpus: int, restart: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "main",
        "image": "registry.example/nothing:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}}
    return {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [TOLERATES_GPU_TAINT] if gpus else [],
        "containers": [container],
    }
