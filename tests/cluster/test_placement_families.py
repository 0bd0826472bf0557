"""Nodes as clouds label them, where GPU feature discovery does not run: each class finds its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import NodeSpec, discovered
from operator_kit.placed import lands_on

L4 = discovered("NVIDIA-L4", "ada-lovelace", "8.9", 23034)
TYPE = "node.kubernetes.io/instance-type"
KARPENTER = "karpenter.k8s.aws/instance-gpu"
GKE = "cloud.google.com/gke-accelerator"

FAMILIES = (
    NodeSpec("eks-auto-t4", 1, {"eks.amazonaws.com/instance-gpu-name": "t4"}, "true"),
    NodeSpec("eks-managed-t4", 1, {TYPE: "g4dn.2xlarge"}, "present"),
    NodeSpec("azure-t4", 1, {TYPE: "Standard_NC16as_T4_v3"}),
    NodeSpec("gke-t4-shared", 2, {GKE: "nvidia-tesla-t4", "cloud.google.com/gke-gpu-sharing-strategy": "mps"}),
    NodeSpec("gke-a100-slice", 7, {GKE: "nvidia-tesla-a100", "cloud.google.com/gke-gpu-partition-size": "1g.5gb"}),
    NodeSpec("karpenter-a100-40", 1, {f"{KARPENTER}-name": "a100", f"{KARPENTER}-memory": "40960"}, "true"),
    NodeSpec("karpenter-a100-80", 1, {f"{KARPENTER}-name": "a100", f"{KARPENTER}-memory": "81920"}, "true"),
    NodeSpec("karpenter-l4-part", 1, {f"{KARPENTER}-name": "l4", f"{KARPENTER}-memory": "2861", TYPE: "g6f.large"}),
    NodeSpec("karpenter-l4", 1, {f"{KARPENTER}-name": "l4", f"{KARPENTER}-memory": "22888", TYPE: "g6.xlarge"}),
    NodeSpec("gke-t4-that-is-an-l4", 1, {GKE: "nvidia-tesla-t4", **L4}),
    NodeSpec("product-a100-80", 1, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}, "present"),
    NodeSpec("accelerator-t4", 1, {"k8s.amazonaws.com/accelerator": "nvidia-tesla-t4"}, "true"),
    NodeSpec("oracle-l40s", 1, {TYPE: "VM.GPU.L40S.1"}, "present"),
    NodeSpec("says-nothing", 1),
)


@pytest.fixture(scope="module")
def families(cluster: Cluster) -> Iterator[None]:
    nodes = Nodes(cluster)
    nodes.only("cpu", *FAMILIES)
    yield
    nodes.restore()


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ({"class": "t4"}, {"eks-auto-t4": 1, "eks-managed-t4": 1, "azure-t4": 1, "accelerator-t4": 1}),
        ({"class": "ampere"}, {"karpenter-a100-40": 1, "karpenter-a100-80": 1, "product-a100-80": 1}),
        ({"class": "ampere", "minMemoryGiB": 80}, {"karpenter-a100-80": 1, "product-a100-80": 1}),
        ({"class": "ada"}, {"karpenter-l4": 1, "gke-t4-that-is-an-l4": 1, "oracle-l40s": 1}),
        (
            {"class": "auto"},
            {
                "eks-auto-t4": 1,
                "eks-managed-t4": 1,
                "azure-t4": 1,
                "karpenter-a100-40": 1,
                "karpenter-a100-80": 1,
                "karpenter-l4": 1,
                "gke-t4-that-is-an-l4": 1,
                "product-a100-80": 1,
                "accelerator-t4": 1,
                "oracle-l40s": 1,
                "says-nothing": 1,
            },
        ),
    ],
    ids=json.dumps,
)
def test_every_family_of_labels_is_understood(
    cluster: Cluster, families: None, namespace: str, gpu: Document, expected: dict[str, int]
) -> None:
    lands_on(cluster, namespace, {"gpu": gpu}, expected)
