"""Expressions of node selector terms, and the keys of the labels that they compare. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Expression = dict[str, Any]

GPU = "nvidia.com/gpu"
MAJOR = f"{GPU}.compute.major"
MINOR = f"{GPU}.compute.minor"
PRODUCT = f"{GPU}.product"
MEMORY = f"{GPU}.memory"
GKE = "cloud.google.com/gke-accelerator"
GKE_SHARING = "cloud.google.com/gke-gpu-sharing-strategy"
GKE_SLICE = "cloud.google.com/gke-gpu-partition-size"
AWS = ("karpenter.k8s.aws", "eks.amazonaws.com")
"""Karpenter and EKS Auto Mode use the same labels, each in its own domain."""
ACCELERATOR = "k8s.amazonaws.com/accelerator"
"""Of AWS' cluster autoscaler; an administrator writes it."""
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
OS = "kubernetes.io/os"
ARCH = "kubernetes.io/arch"
IMAGE_PLATFORM = {OS: "linux", ARCH: "amd64"}
"""What the images are built for, as the kubelet labels nodes. These are terms of node affinity, not `nodeSelector`: an
upgrade of the operator that changes them leaves running pods alone (`pinned_fields`)."""


def is_in(key: str, *values: str) -> Expression:
    return {"key": key, "operator": "In", "values": list(values)}


def not_in(key: str, *values: str) -> Expression:
    """Also holds for nodes without the label."""
    return {"key": key, "operator": "NotIn", "values": list(values)}


def greater(key: str, than: int) -> Expression:
    return {"key": key, "operator": "Gt", "values": [str(than)]}


def exists(key: str) -> Expression:
    return {"key": key, "operator": "Exists"}


def absent(key: str) -> Expression:
    return {"key": key, "operator": "DoesNotExist"}


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """By the scheduler's rules."""
    value = labels.get(expression.get("key", ""))
    values: Sequence[str] = expression.get("values") or ()
    match str(expression.get("operator")):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists" | "DoesNotExist" as operator:
            return (value is not None) == (operator == "Exists")
        case operator:
            number, bound = _number(value), _number(values[0] if values else None)
            if number is None or bound is None:
                return False
            return number > bound if operator == "Gt" else number < bound


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
