"""What the status says of a pod without a GPU, by what the nodes offer: each cause has its own way out, and none is only likely."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster_kit.simulated_nodes import BY_NAME, NodeSpec, discovered
from operator_kit.refused_pods import AUTO, CPU, PLAIN, T4, TAKEN, advice
from whisper_operator.reconcile.cached_reader import node_offer

MIG = {"nvidia.com/mig-1g.10gb": "7"}
SHARED = {"nvidia.com/gpu.shared": "4"}
CARD = {"nvidia.com/hostdev": "8"}
"""A network card."""
SLICED_A100 = NodeSpec(
    "a100-sliced", 0, {**BY_NAME["a100"].labels, "nvidia.com/mig-1g.10gb.memory": "9728"}, resources=MIG
)


@pytest.mark.parametrize(
    ("spec", "nodes", "expected"),
    [
        (AUTO, [CPU], "No node has nvidia.com/gpu (`kubectl get nodes -o custom-columns="),
        (T4, [CPU], "No node has nvidia.com/gpu (`kubectl get nodes -o custom-columns="),
        (AUTO, [CPU, NodeSpec("mig", 0, resources=MIG)], "nodes have 7 nvidia.com/mig-1g.10gb: write gpu.resourceName: nvidia.com/mig-1g.10gb, or"),
        (T4, [CPU, NodeSpec("mig", 0, resources=MIG)], "No node has nvidia.com/gpu. Nodes have 7 nvidia.com/mig-1g.10gb, but none with labels that show a GPU that gpu.class t4 allows: add a node with one."),
        ({"gpu": {"class": "ada"}}, [SLICED_A100], "but none with labels that show a GPU that gpu.class ada allows"),
        ({"gpu": {"class": "ada"}}, [NodeSpec("odd", 0, BY_NAME["l4"].labels, resources=MIG)], "but none with labels that show a GPU that gpu.class ada allows"),
        ({"gpu": {"class": "hopper"}}, [SLICED_A100], "but none with labels that show a GPU that gpu.class hopper allows"),
        ({"gpu": {"class": "ampere"}}, [SLICED_A100], "nodes have 7 nvidia.com/mig-1g.10gb: write gpu.resourceName: nvidia.com/mig-1g.10gb, or"),
        ({"gpu": {"class": "ampere", "minMemoryGiB": 10}}, [SLICED_A100], "write gpu.resourceName: nvidia.com/mig-1g.10gb"),
        ({"gpu": {"class": "auto", "minMemoryGiB": 40}}, [SLICED_A100], "but none with labels that show a GPU that gpu.class auto with gpu.minMemoryGiB 40 allows"),
        ({"gpu": {"class": "hopper", "resourceName": "nvidia.com/mig-1g.20gb"}}, [BY_NAME["t4-0"]], "No node has nvidia.com/mig-1g.20gb. Nodes have 1 nvidia.com/gpu, but none with labels that"),
        ({"gpu": {"class": "hopper", "resourceName": "nvidia.com/mig-1g.20gb"}}, [BY_NAME["t4-0"], BY_NAME["h100"]], "but nodes have 2 nvidia.com/gpu: write gpu.resourceName: nvidia.com/gpu, or"),
        ({"gpu": {"class": "ampere"}}, [BY_NAME["t4-0"], SLICED_A100], "with nvidia.com/gpu, but none that gpu.class ampere allows; nodes have 7 nvidia.com/mig-1g.10gb: write gpu.resourceName: nvidia.com/mig-1g.10gb, or"),
        (AUTO, [NodeSpec("card", 0, resources=CARD)], "No node has nvidia.com/gpu (`kubectl get nodes"),
        (AUTO, [NodeSpec("both", 0, resources={**CARD, **MIG})], "nodes have 7 nvidia.com/mig-1g.10gb: write gpu.resourceName: nvidia.com/mig-1g.10gb, or"),
        (AUTO, [NodeSpec("many", 0, resources={**SHARED, **MIG})], "write gpu.resourceName: nvidia.com/mig-1g.10gb, or"),
        ({"gpu": {"class": "auto"}, "pod": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}, [NodeSpec("amd", 0, resources=MIG)], "but none with labels that show a GPU that gpu.class auto, with pod.nodeSelector, allows"),
        (AUTO, [CPU, NodeSpec("shared", 0, resources=SHARED)], "write gpu.resourceName: nvidia.com/gpu.shared and gpu.shared: true"),
        (AUTO, [CPU, BY_NAME["t4-shared"]], "node t4-shared are shared or slices (MIG): write gpu.shared: true and engine.gpuMemoryUtilization"),
        (T4, [CPU, BY_NAME["t4-shared"]], "node t4-shared are shared or slices (MIG): write gpu.shared: true and engine.gpuMemoryUtilization"),
        ({"gpu": {"class": "ampere"}}, [BY_NAME["a100-mig"]], "write gpu.shared: true"),
        (T4, [CPU, PLAIN], "No label says which GPU node plain has."),
        (T4, [CPU, PLAIN], "`kubectl label node plain nvidia.com/gpu.compute.major=7 nvidia.com/gpu.compute.minor=5`"),
        (
            {"gpu": {"class": "auto", "minMemoryGiB": 24}},
            [PLAIN],
            "`kubectl label node plain nvidia.com/gpu.compute.major=7 nvidia.com/gpu.compute.minor=5 nvidia.com/gpu.memory=22610`",
        ),
        (
            {"gpu": {"class": "auto"}, "engine": {"dtype": "bfloat16"}},
            [PLAIN],
            "`kubectl label node plain nvidia.com/gpu.compute.major=8 nvidia.com/gpu.compute.minor=0`",
        ),
        (T4, [CPU, BY_NAME["l4"]], "1 node (l4: compute capability 8.9, 23034 MiB) with nvidia.com/gpu, but none that gpu.class t4 allows"),
        (T4, [BY_NAME["l4"], BY_NAME["a100"]], "2 nodes (l4: compute capability 8.9, 23034 MiB)"),
        ({"gpu": {"class": "hopper", "minMemoryGiB": 96}}, [BY_NAME["h100"]], "or change gpu.class or gpu.minMemoryGiB"),
        (AUTO, [NodeSpec("v100", 1, discovered("Tesla-V100-SXM2-16GB", "volta", "7.0", 16160))], "v100: compute capability 7.0, 16160 MiB"),
        (T4, [BY_NAME["t4-0"], BY_NAME["t4-1"]], "Every nvidia.com/gpu that gpu.class t4 allows is taken (2 on 2 nodes): free one or add a node"),
        (AUTO, [PLAIN], "Every nvidia.com/gpu that gpu.class auto allows is taken (2 on 1 node)"),
    ],
)  # fmt: skip
def test_each_cause_has_its_own_way_out(spec: dict[str, Any], nodes: list[NodeSpec], expected: str) -> None:
    reason = "NoMatchingNode" if "pod" in spec else "InsufficientGPU"
    found = advice(spec, *nodes, reason=reason)
    assert expected in found
    assert ("hostdev" in found) == ("hostdev" in expected)
    assert ("write gpu.resourceName" in found) == ("write gpu.resourceName" in expected)
    assert (TAKEN in found) == (TAKEN in expected)


def test_cordoned_node_is_not_called_taken() -> None:
    cordoned = dataclasses.replace(node_offer(BY_NAME["t4-0"].document()), is_cordoned=True)
    found = advice(T4, cordoned, CPU)
    assert TAKEN not in found
    assert "`kubectl uncordon NODE`" in found


@pytest.mark.parametrize("spec", [T4, AUTO])
def test_nothing_is_called_taken_where_nodes_may_not_be_read(spec: dict[str, Any]) -> None:
    for node in (CPU, PLAIN, BY_NAME["t4-0"], BY_NAME["t4-shared"]):
        assert TAKEN not in advice(spec, node, known=False)
