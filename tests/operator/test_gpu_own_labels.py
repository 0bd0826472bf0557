"""Labels that a pod asks for besides those of its GPU are named where they exclude a node."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_kit.simulated_nodes import BY_NAME, NodeSpec
from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, snapshot_of
from operator_kit.refused_pods import AUTO, CPU, LACKS, PLAIN, T4, T4_0, TAKEN, advice, labelled, pending
from whisper_operator.reconcile.cached_reader import node_offer

IN_A = {"pod": {"nodeSelector": {"zone": "a"}}}
OF_POOL = {"node_selector": {"pool": "speech"}}
ONLY_A = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
    }
}
PREFERS_A = {"pod": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]}}}}  # fmt: skip
IN_A_BY_AFFINITY = {"pod": {"affinity": {"nodeAffinity": ONLY_A}}}
CPU_IN_A = labelled(CPU, zone="a")
LABEL_POOL = "no label pool, and defaults.nodeSelector of the operator's chart asks for pool=speech: if the pod is meant to go there, label it (`kubectl label node t4-0 pool=speech`)"


@pytest.mark.parametrize(
    ("spec", "defaults", "nodes", "reason", "expected"),
    [
        (T4, OF_POOL, [T4_0], "NoMatchingNode", f"Node t4-0 has a GPU that gpu.class t4 allows, but {LABEL_POOL}"),
        (AUTO, OF_POOL, [labelled(CPU, pool="speech"), T4_0], "InsufficientGPU", LABEL_POOL),
        (AUTO, OF_POOL, [PLAIN], "NoMatchingNode", "Node plain has a GPU that gpu.class auto allows, but no label pool"),
        (T4, OF_POOL, [PLAIN], "NoMatchingNode", "Node plain has nvidia.com/gpu, but no label pool"),
        (T4, OF_POOL, [labelled(PLAIN, pool="speech")], "NoMatchingNode", "`kubectl label node plain nvidia.com/gpu.compute.major=7"),
        (T4 | IN_A, {}, [CPU_IN_A, labelled(T4_0, zone="b")], "NoMatchingNode", "Node t4-0 has a GPU that gpu.class t4 allows, but zone b, and pod.nodeSelector asks for a: change pod.nodeSelector"),
        (AUTO | IN_A, {}, [CPU_IN_A, labelled(T4_0, zone="b")], "InsufficientGPU", "but zone b, and pod.nodeSelector asks for a"),
        (AUTO | IN_A, {}, [CPU_IN_A, labelled(PLAIN, zone="b")], "InsufficientGPU", "Node plain has a GPU that gpu.class auto allows, but zone b"),
        (T4 | IN_A, {}, [T4_0, labelled(BY_NAME["t4-shared"], zone="a")], "NoMatchingNode", "those of node t4-shared are shared or slices (MIG): write gpu.shared: true"),
        (T4 | IN_A, {}, [T4_0, BY_NAME["t4-shared"]], "NoMatchingNode", "Node t4-0 has a GPU that gpu.class t4 allows, but no label zone"),
        (T4 | IN_A, {}, [BY_NAME["t4-shared"]], "NoMatchingNode", "but none that gpu.class t4, with pod.nodeSelector, allows"),
        (T4 | IN_A_BY_AFFINITY, {}, [T4_0], "NoMatchingNode", "but not the labels that pod.affinity asks for: change pod.affinity"),
        (T4 | PREFERS_A, {}, [PLAIN], "InsufficientGPU", "If gpu.class t4 is meant to take it, install GPU feature discovery, or label it: `kubectl label node plain nvidia"),
        (T4 | PREFERS_A, {}, [T4_0], "InsufficientGPU", "Every nvidia.com/gpu that gpu.class t4 allows is taken (1 on 1 node)"),
        (T4 | IN_A_BY_AFFINITY, {}, [CPU], "NoMatchingNode", "No node has nvidia.com/gpu"),
        (T4, OF_POOL, [labelled(T4_0, pool="speech")], "InsufficientGPU", "gpu.class t4, with defaults.nodeSelector of the operator's chart, allows is taken (1 on 1 node)"),
    ],
)  # fmt: skip
def test_labels_that_the_pod_asks_for_besides_its_gpu_are_named(
    spec: dict[str, Any], defaults: dict[str, Any], nodes: list[NodeSpec], reason: str, expected: str
) -> None:
    found = advice(spec, *nodes, defaults=defaults, reason=reason)
    assert expected in found
    assert ("gpu.shared" in found) == ("gpu.shared" in expected)
    assert (TAKEN in found) == (TAKEN in expected)


def test_node_affinity_of_an_earlier_operator_is_not_called_the_specs() -> None:
    """A pinned template keeps the terms that it was made with (`pinned_fields`)."""
    pod = live_pods.unscheduled(f"0/1 nodes are available: 1 {LACKS}.")
    pod["spec"] = {**pending(T4), "affinity": {"nodeAffinity": ONLY_A}}
    nodes = (node_offer(T4_0.document()),)
    status = judged(T4, snapshot_of(live.deployment(), pods=[pod], nodes=nodes))
    assert "Node t4-0 has a GPU that gpu.class t4 allows, but the node affinity that the pod has from" in message(
        status, "Scheduled"
    )
