"""Taints of GPU nodes: what an administrator set is named, what a controller set is not advised into tolerations."""

from __future__ import annotations

import dataclasses

import pytest

from operator_kit.refused_pods import CPU, T4, T4_0, TAKEN, advice
from whisper_operator.reconcile.cached_reader import node_offer
from whisper_operator.snapshot import NodeOffer


def tainted(*taints: tuple[str, str], effect: str = "NoSchedule") -> NodeOffer:
    documents = tuple({"key": key, "value": value, "effect": effect} for key, value in taints)
    return dataclasses.replace(node_offer(T4_0.document()), taints=documents)


REMOVED = "but is being removed (taint {}): add one, and the pod goes there by itself."
UNREADY = "but is not ready: its taint {} keeps pods away until that is over (`kubectl describe node t4-0`). Then the pod can go there."


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        ([("team", "vision")], "and its taint team=vision keeps pods away: name it in pod.tolerations, or add a node."),
        (
            [("team", "vision"), ("spot", "")],
            "and its taints team=vision and spot keep pods away: name them in pod.tolerations, or add a node.",
        ),
        (
            [("node.kubernetes.io/disk-pressure", ""), ("team", "vision")],
            "and its taint team=vision keeps pods away: name it in pod.tolerations, or add a node.",
        ),
        (
            [("node-role.kubernetes.io/control-plane", "")],
            "and its taint node-role.kubernetes.io/control-plane keeps pods away: name it in pod.tolerations, or add a node.",
        ),
        *(
            ([(key, "")], UNREADY.format(key))
            for key in (
                "node.kubernetes.io/not-ready",
                "node.kubernetes.io/unreachable",
                "node.kubernetes.io/disk-pressure",
                "node.kubernetes.io/network-unavailable",
                "node.cloudprovider.kubernetes.io/uninitialized",
                "node.cilium.io/agent-not-ready",
                "karpenter.sh/unregistered",
            )
        ),
        ([("ToBeDeletedByClusterAutoscaler", "1700000000")], REMOVED.format("ToBeDeletedByClusterAutoscaler")),
        ([("karpenter.sh/disrupted", "")], REMOVED.format("karpenter.sh/disrupted")),
        (
            [("node.cloudprovider.kubernetes.io/shutdown", "")],
            REMOVED.format("node.cloudprovider.kubernetes.io/shutdown"),
        ),
    ],
)
def test_taint_that_keeps_the_pod_away_is_named(taints: list[tuple[str, str]], expected: str) -> None:
    for effect in ("NoSchedule", "NoExecute"):
        assert advice(T4, tainted(*taints, effect=effect), CPU) == f"Node t4-0 has nvidia.com/gpu, {expected}"


def test_node_that_gets_ready_is_named_before_one_that_is_being_removed() -> None:
    going = dataclasses.replace(tainted(("ToBeDeletedByClusterAutoscaler", "1")), name="t4-1")
    unready = tainted(("node.kubernetes.io/not-ready", ""))
    found = advice(T4, going, unready, reason="Unschedulable")
    assert "Node t4-0 has nvidia.com/gpu, but is not ready" in found
    assert "pod.tolerations" not in found


def test_usual_taints_of_gpu_nodes_are_tolerated() -> None:
    for taint in (("nvidia.com/gpu", "present"), ("nvidia.com/gpu", "true"), ("sku", "gpu")):
        assert TAKEN in advice(T4, tainted(taint))
