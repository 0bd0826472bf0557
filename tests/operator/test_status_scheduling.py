"""The scheduler's message and our advice, which names only possible reasons."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.judgements import judged, message, short
from operator_kit.situation import CPU, GPU, no_node

LABELS = "2 node(s) didn't match Pod's node affinity/selector"
CORDONED = "2 node(s) were unschedulable"
FULL = "2 Insufficient nvidia.com/gpu"
SELECTOR = {"nodeSelector": {"zone": "a"}}
NODE_AFFINITY = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
            }
        }
    }
}


def told(spec: dict[str, Any], *reasons: str) -> tuple[str, str]:
    """The reason, and the advice."""
    status = judged(spec, no_node(f"0/4 nodes are available: {', '.join(reasons)}."))
    said, _, advice = message(status).partition(f"{reasons[-1]}. ")
    assert said
    return short(status)["Ready"].removeprefix("False "), advice


@pytest.mark.parametrize("others", [(), (LABELS,)])
def test_cordoned_nodes_of_the_class_are_named(others: tuple[str, ...]) -> None:
    reason, advice = told(GPU, *others, CORDONED)
    assert reason == "InsufficientGPU"
    assert advice.startswith("No node that takes pods has a GPU that gpu.class t4 allows, and some are cordoned")
    assert "`kubectl uncordon NODE`" in advice


def test_cordoned_nodes_are_named_with_full_ones() -> None:
    reason, advice = told(GPU, CORDONED, FULL)
    assert reason == "InsufficientGPU"
    assert advice == (
        "No node has a free nvidia.com/gpu that gpu.class t4 allows: uncordon a node (`kubectl uncordon NODE`), "
        "free one if there are some, or add one, and the pod goes there by itself."
    )


def test_cordoned_nodes_without_gpu_are_named() -> None:
    cordoned = "If a cordoned node is meant for it: `kubectl uncordon NODE`."
    assert told(CPU, CORDONED) == ("Unschedulable", cordoned)
    assert told(CPU, "1 Insufficient memory", CORDONED)[1].endswith(cordoned)


@pytest.mark.parametrize(
    ("pod", "terms"),
    [
        (SELECTOR, "pod.nodeSelector asks"),
        (NODE_AFFINITY, "pod.affinity asks"),
        (SELECTOR | NODE_AFFINITY, "pod.nodeSelector and pod.affinity ask"),
    ],
)
def test_node_selector_of_the_spec_is_named_as_reason(pod: dict[str, Any], terms: str) -> None:
    reason, advice = told(GPU | {"pod": pod}, LABELS)
    assert reason == "NoMatchingNode"
    assert f"No node has both a GPU that gpu.class t4 allows and the labels that {terms} for" in advice


def test_full_nodes_are_limited_to_the_selector() -> None:
    reason, advice = told(GPU | {"pod": SELECTOR}, LABELS, FULL)
    assert reason == "InsufficientGPU"
    assert advice.startswith(
        "No node has a free nvidia.com/gpu that gpu.class t4, with pod.nodeSelector, allows: free one if"
    )


def test_preference_is_not_called_a_reason() -> None:
    wish = {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    assert told(GPU | {"pod": {"affinity": affinity}}, LABELS) == (
        "InsufficientGPU",
        "No node shows a GPU that gpu.class t4 allows: add one, and the pod goes there by itself, or change gpu.class.",
    )


@pytest.mark.parametrize("more", [LABELS, FULL, "1 Insufficient memory"])
def test_foreign_taint_is_named(more: str) -> None:
    taint = "1 node(s) had untolerated taint {foo: bar}"
    assert told(GPU, more, taint)[1].endswith(
        "If a node with taint foo is meant for it, name that taint in pod.tolerations."
    )


@pytest.mark.parametrize(
    "taint",
    ["node-role.kubernetes.io/control-plane: ", "ToBeDeletedByClusterAutoscaler: 17", "karpenter.sh/disrupted: "],
)
def test_taint_of_a_controller_gives_no_advice(taint: str) -> None:
    assert "taint" not in told(GPU, FULL, f"1 node(s) had untolerated taint {{{taint}}}")[1]


@pytest.mark.parametrize(
    ("lacking", "reason", "way"),
    [
        (["2 node(s) had volume node affinity conflict"], "Unschedulable", "several pods need accessModes [ReadWriteMany], or replicas 1"),
        (["1 Insufficient memory", "1 node(s) had volume node affinity conflict"], "InsufficientResources", "several pods need accessModes [ReadWriteMany], or replicas 1"),
        (["2 Too many pods"], "InsufficientResources", "A node has as many pods as it takes: add a node."),
        (["2 Insufficient example.com/fpga"], "Unschedulable", "Lower pod.resources.requests, or add a node."),
        (["2 node(s) didn't match pod topology spread constraints"], "Unschedulable", "Check pod.topologySpreadConstraints"),
        (["2 node(s) didn't match pod anti-affinity rules"], "Unschedulable", "check pod.affinity"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spec", [CPU, GPU])
def test_what_nodes_lack_has_its_way_out(spec: dict[str, Any], lacking: list[str], reason: str, way: str) -> None:
    found, advice = told(spec, *lacking)
    assert found == reason
    assert way in advice
    assert ("pod.resources" in advice) == any("Insufficient" in each for each in lacking)
