"""Simulated nodes as data: GPU pools as NVIDIA's GPU feature discovery, GKE and Karpenter label them.

A Node object with labels, taints and `nvidia.com/gpu` in its status is all that the real scheduler looks at. What kwok
does with the pods on them is in `simulated_pods`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster_kit.control_plane import SIMULATED

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class NodeSpec:
    """A node to be. `taint` is the value of the taint nvidia.com/gpu:NoSchedule; None is no taint."""

    name: str
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taint: str | None = None
    cpu: str = "32"
    memory: str = "128Gi"
    pods: int = 110
    resources: Mapping[str, str] = field(default_factory=dict)
    """More of what it has, such as nvidia.com/mig-1g.5gb."""

    def document(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory, "pods": str(self.pods), "ephemeral-storage": "500Gi"}
        amounts |= {**self.resources, **({GPU: str(self.gpus)} if self.gpus else {})}
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "type": "simulated",
            **self.labels,
        }
        taints = [] if self.taint is None else [{"key": GPU, "value": self.taint, "effect": "NoSchedule"}]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels, "annotations": dict(SIMULATED)},
            "spec": {"taints": taints},
            "status": {"capacity": amounts, "allocatable": amounts},
        }


def discovered(
    product: str,
    family: str,
    capability: str,
    memory_mib: int,
    *,
    count: int = 1,
    other: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The labels of GPU feature discovery. `other` adds some, or changes them: {"gpu.sharing-strategy": "mps"}."""
    major, minor = capability.split(".")
    labels = {
        "gpu.present": "true",
        "gpu.product": product,
        "gpu.family": family,
        "gpu.compute.major": major,
        "gpu.compute.minor": minor,
        "gpu.memory": str(memory_mib),
        "gpu.count": str(count),
        "gpu.replicas": "1",
        "gpu.sharing-strategy": "none",
        "gpu.mode": "compute",
        "gpu.machine": "simulated",
        "mig.capable": "false",
        "mps.capable": "false",
        "cuda.driver-version.major": "580",
        "cuda.driver-version.minor": "95",
        "cuda.runtime-version.major": "13",
        "cuda.runtime-version.minor": "0",
        **(other or {}),
    }
    return {f"nvidia.com/{name}": value for name, value in labels.items()}


T4 = discovered("Tesla-T4", "turing", "7.5", 15360)
GKE = "cloud.google.com/gke-accelerator"
KARPENTER = "karpenter.k8s.aws/instance-gpu"
SHARED = {"gpu.replicas": "4", "gpu.sharing-strategy": "time-slicing"}
SLICE = {"mig.capable": "true", "mig.strategy": "single", "gpu.slices.gi": "1", "gpu.slices.ci": "1"}

CATALOGUE: tuple[NodeSpec, ...] = (
    NodeSpec("t4-0", 1, T4, "present"),
    NodeSpec("t4-1", 1, T4, "present"),
    NodeSpec("t4-shared", 4, discovered("Tesla-T4-SHARED", "turing", "7.5", 15360, other=SHARED), "present"),
    NodeSpec(
        "a100", 1, discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40960, other={"mig.capable": "true"}), "present"
    ),
    NodeSpec(
        "a100-mig", 7, discovered("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "ampere", "8.0", 4864, other=SLICE), "present"
    ),
    NodeSpec("a10", 1, discovered("NVIDIA-A10", "ampere", "8.6", 23028), "true"),
    NodeSpec("l4", 1, discovered("NVIDIA-L4", "ada-lovelace", "8.9", 23034), "present"),
    NodeSpec("h100", 2, discovered("NVIDIA-H100-80GB-HBM3", "hopper", "9.0", 81559, count=2), "present"),
    NodeSpec("b200", 1, discovered("NVIDIA-B200", "blackwell", "10.0", 183359)),
    NodeSpec("gke-t4", 1, {GKE: "nvidia-tesla-t4", "cloud.google.com/gke-gpu": "true"}, "present"),
    NodeSpec("gke-l4", 1, {GKE: "nvidia-l4", "cloud.google.com/gke-gpu": "true"}, "present"),
    NodeSpec(
        "karpenter-t4",
        1,
        {
            f"{KARPENTER}-manufacturer": "nvidia",
            f"{KARPENTER}-name": "t4",
            f"{KARPENTER}-memory": "16384",
            f"{KARPENTER}-count": "1",
            "node.kubernetes.io/instance-type": "g4dn.xlarge",
        },
        "true",
    ),
    NodeSpec("cpu", pods=1000),
)
"""What there is where a test does not say otherwise. A name says what the node is for."""
BY_NAME: Mapping[str, NodeSpec] = {node.name: node for node in CATALOGUE}
