"""What a pod needs besides one GPU: GPUs of its other containers, memory, volumes, places."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_kit.simulated_nodes import GPU, NodeSpec
from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, snapshot_of
from operator_kit.refused_pods import AUTO, CPU, T4, T4_0, TAKEN, advice, pending
from whisper_operator.reconcile.cached_reader import node_offer


def with_gpu(kind: str, n_gpus: int = 1) -> dict[str, Any]:
    container = {"name": "own", "image": "own:1", "resources": {"limits": {GPU: str(n_gpus)}}}
    return T4 | {"pod": {kind: [container]}}


TWO_T4 = NodeSpec("two", 2, T4_0.labels)
LEAVE_OUT = "leave out the GPU in pod.sidecars and pod.initContainers"


@pytest.mark.parametrize(
    ("spec", "nodes", "expected"),
    [
        (with_gpu("sidecars"), [TWO_T4, CPU], f"No node has 2 free nvidia.com/gpu that gpu.class t4 allows (2 on 1 node), as many as the pod needs: {LEAVE_OUT}"),
        (with_gpu("sidecars"), [T4_0, CPU], f"The pod needs 2 nvidia.com/gpu, and no node with some that gpu.class t4 allows has more than 1 (t4-0): {LEAVE_OUT}"),
        (with_gpu("initContainers", 2), [TWO_T4], f"No node has 2 free nvidia.com/gpu that gpu.class t4 allows (2 on 1 node), as many as the pod needs: {LEAVE_OUT}"),
        (with_gpu("initContainers"), [TWO_T4], "Every nvidia.com/gpu that gpu.class t4 allows is taken (2 on 1 node): free one or add a node"),
        (with_gpu("sidecars"), None, f"No node has 2 free nvidia.com/gpu that gpu.class t4 allows: {LEAVE_OUT}"),
    ],
)  # fmt: skip
def test_gpus_of_other_containers_count(spec: dict[str, Any], nodes: list[NodeSpec] | None, expected: str) -> None:
    found = advice(spec, *(nodes or [TWO_T4]), known=nodes is not None)
    assert expected in found
    assert (TAKEN in found) == (TAKEN in expected)


RESOURCES = "Lower pod.resources.requests, or add a node."
VOLUME = "The cache's volume is on another node or in another zone: free there what the pod needs"


@pytest.mark.parametrize(
    ("lacking", "ways"),
    [
        (["Insufficient memory"], [RESOURCES]),
        (["Insufficient example.com/fpga"], [RESOURCES]),
        (["Too many pods"], ["A node has as many pods as it takes: add a node."]),
        (["node(s) had volume node affinity conflict"], [VOLUME]),
        (["node(s) had no available volume zone"], [VOLUME]),
        (["node(s) exceed max volume count"], ["A node has as many volumes as it takes: add a node."]),
        (["node(s) didn't match pod anti-affinity rules"], ["check pod.affinity"]),
        (["node(s) didn't satisfy existing pods anti-affinity rules"], ["check pod.affinity"]),
        (["node(s) didn't match pod topology spread constraints"], ["Check pod.topologySpreadConstraints"]),
        (["node(s) had a reason of tomorrow"], ["Free it on one node, or add a node."]),
        (["Insufficient memory", "node(s) had volume node affinity conflict"], [RESOURCES, VOLUME]),
    ],
)
def test_what_else_a_node_lacks_has_its_own_way_out(lacking: list[str], ways: list[str]) -> None:
    """The node with the GPU lacks something else; that with the name of the resource in its reason has no GPU at all."""
    offers = [node_offer(each.document()) for each in (T4_0, CPU)]
    words = ", ".join(f"1 {each}" for each in (*lacking, "Insufficient nvidia.com/gpu"))
    pod = live_pods.unscheduled(f"0/2 nodes are available: {words}.") | {"spec": pending(AUTO)}
    found = message(judged(AUTO, snapshot_of(live.deployment(), pods=[pod], nodes=(offers[0],))), "Scheduled")
    assert TAKEN not in found
    assert f"and all else that the pod needs ({' and '.join(lacking)})." in found
    assert all(way in found for way in ways)
    assert ("pod.resources" in found) == (RESOURCES in ways)
