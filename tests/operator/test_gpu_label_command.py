"""The command that labels a node: given where labels leave the GPU open, and then the node fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster_kit.simulated_nodes import BY_NAME, NodeSpec, discovered
from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, snapshot_of
from operator_kit.refused_pods import PLAIN, T4, TAKEN, advice, pending
from whisper_operator.gpus.product_table import PRODUCTS
from whisper_operator.reconcile.cached_reader import node_offer

MAJOR, MINOR, MEMORY, PRODUCT = (
    f"nvidia.com/gpu.{name}" for name in ("compute.major", "compute.minor", "memory", "product")
)
ACCELERATOR, GKE = "k8s.amazonaws.com/accelerator", "cloud.google.com/gke-accelerator"
KARPENTER = "karpenter.k8s.aws/instance-gpu"
SLICE = "nvidia.com/mig-1g.10gb"
AMPERE = {"class": "ampere"}
UNKNOWN = "No label that the operator knows says which GPU node n has."
NONE = "with nvidia.com/gpu, but none that"


def labels_of(command: str) -> dict[str, str]:
    _, _, added = command.partition("`kubectl label node ")
    _, *pairs = added.partition("`")[0].split()
    return dict(each.split("=") for each in pairs)


def cut(*absent: str, **more: str) -> dict[str, str]:
    """Labels of feature discovery, without some."""
    return {
        key: value for key, value in discovered("NVIDIA-A10", "ampere", "8.6", 23028).items() if key not in absent
    } | more


@pytest.mark.parametrize(
    ("gpu", "labels", "expected", "added"),
    [
        (AMPERE, {PRODUCT: "NVIDIA-RTX-A5500"}, UNKNOWN, {MAJOR: "8", MINOR: "0"}),
        (AMPERE, {PRODUCT: "NVIDIA-RTX-A5500", MAJOR: "8"}, f"Node n has no label {MINOR}.", {MINOR: "0"}),
        (AMPERE, {ACCELERATOR: "my-a10"}, UNKNOWN, {MAJOR: "8", MINOR: "0"}),
        (AMPERE, {GKE: "nvidia-of-tomorrow"}, UNKNOWN, {MAJOR: "8", MINOR: "0"}),
        (AMPERE, {f"{KARPENTER}-name": "a30"}, UNKNOWN, {MAJOR: "8", MINOR: "0"}),
        ({**AMPERE, "minMemoryGiB": 24}, {PRODUCT: "NVIDIA-RTX-A5500"}, UNKNOWN, {MAJOR: "8", MINOR: "0", MEMORY: "22610"}),
        ({**AMPERE, "minMemoryGiB": 24}, cut(MEMORY), f"Node n has no label {MEMORY}.", {MEMORY: "22610"}),
        ({**AMPERE, "minMemoryGiB": 24}, cut(MEMORY, MINOR), f"Node n has no label {MINOR} and {MEMORY}.", {MINOR: "0", MEMORY: "22610"}),
        ({"class": "auto", "minMemoryGiB": 24}, cut(MEMORY, MINOR), f"Node n has no label {MEMORY}.", {MEMORY: "22610"}),
        ({"class": "t4"}, {MAJOR: "7"}, f"Node n has no label {MINOR}.", {MINOR: "5"}),
        ({"class": "t4", "shared": True}, {}, "No label says which GPU node n has.", {MAJOR: "7", MINOR: "5"}),
        ({**AMPERE, "minMemoryGiB": 80}, {ACCELERATOR: "nvidia-tesla-a100"}, "No label says which GPU node n has.", {MAJOR: "8", MINOR: "0", MEMORY: "75367"}),
        ({**AMPERE, "minMemoryGiB": 80}, {f"{KARPENTER}-name": "a100"}, "No label says which GPU node n has.", {MAJOR: "8", MINOR: "0", MEMORY: "75367"}),
        ({**AMPERE, "resourceName": SLICE, "minMemoryGiB": 10}, cut(), f"Node n has no label {SLICE}.memory.", {f"{SLICE}.memory": "9421"}),
        ({**AMPERE, "resourceName": SLICE, "minMemoryGiB": 10}, {PRODUCT: "NVIDIA-A100-SXM4-40GB"}, "No label says which GPU node n has.", {MAJOR: "8", MINOR: "0", f"{SLICE}.memory": "9421"}),
    ],
)  # fmt: skip
def test_label_that_the_terms_lack_is_named_and_makes_the_node_fit(
    gpu: dict[str, Any], labels: dict[str, str], expected: str, added: dict[str, str]
) -> None:
    spec = {"gpu": gpu} | ({"engine": {"gpuMemoryUtilization": 0.4}} if gpu.get("shared") else {})
    node = NodeSpec("n", 1, labels) if "resourceName" not in gpu else NodeSpec("n", 0, labels, resources={SLICE: "3"})
    found = advice(spec, node)
    assert found.startswith(expected)
    assert labels_of(found) == added
    assert TAKEN in advice(spec, dataclasses.replace(node, labels={**labels, **added}))


@pytest.mark.parametrize(
    ("gpu", "labels"),
    [
        ({"class": "t4"}, {PRODUCT: "NVIDIA-A10"}),
        ({"class": "t4"}, {GKE: "nvidia-l4"}),
        ({"class": "hopper"}, {ACCELERATOR: "nvidia-tesla-a100"}),
        ({**AMPERE, "minMemoryGiB": 80}, {PRODUCT: "NVIDIA-A100-SXM4-40GB"}),
        ({**AMPERE, "minMemoryGiB": 80}, {f"{KARPENTER}-name": "a100", f"{KARPENTER}-memory": "40960"}),
        ({"class": "hopper"}, cut(MEMORY, MINOR)),
        ({"class": "ada"}, cut(MEMORY)),
        ({"class": "ada", "minMemoryGiB": 40}, cut(MEMORY)),
        (AMPERE, {PRODUCT: "NVIDIA-RTX-A5500-SHARED"}),
        (AMPERE, {PRODUCT: "NVIDIA-OTHER-MIG-1g.5gb"}),
        (AMPERE, {GKE: "nvidia-of-tomorrow", "cloud.google.com/gke-gpu-sharing-strategy": "mps"}),
    ],
)  # fmt: skip
def test_no_label_is_advised_where_labels_decide(gpu: dict[str, Any], labels: dict[str, str]) -> None:
    found = advice({"gpu": gpu}, NodeSpec("n", 1, labels))
    assert "kubectl label" not in found
    assert NONE in found


@pytest.mark.parametrize(
    ("name", "gpu_class"),
    [
        ("NVIDIA-A30", "ampere"),
        ("NVIDIA-A40", "ampere"),
        ("NVIDIA-A2", "ampere"),
        ("NVIDIA-RTX-A6000", "ampere"),
        ("NVIDIA-GeForce-RTX-3090", "ampere"),
        ("NVIDIA-GeForce-RTX-4090", "ada"),
        ("NVIDIA-RTX-6000-Ada-Generation", "ada"),
        ("NVIDIA-GeForce-RTX-5090", "blackwell"),
    ],
)
def test_product_of_own_machines_is_known_by_its_name(name: str, gpu_class: str) -> None:
    assert TAKEN in advice({"gpu": {"class": gpu_class}}, NodeSpec("n", 1, {PRODUCT: name}))
    assert NONE in advice({"gpu": {"class": "hopper"}}, NodeSpec("n", 1, {PRODUCT: name}))


def test_every_name_of_the_table_decides() -> None:
    for product in PRODUCTS:
        for name in product.gfd:
            found = advice({"gpu": {"class": "t4"}}, NodeSpec("n", 1, {PRODUCT: name}))
            assert (TAKEN in found) == (product.capability == (7, 5))
            assert "kubectl label" not in found


def test_label_command_makes_the_node_match() -> None:
    for spec in (T4, {"gpu": {"class": "auto", "minMemoryGiB": 24}}, {"gpu": {"class": "hopper"}}):
        found = advice(spec, PLAIN)
        _, _, command = found.partition("`kubectl label node plain ")
        labels = dict(each.split("=") for each in command.partition("`")[0].split())
        assert TAKEN in advice(spec, dataclasses.replace(PLAIN, labels=labels))


def test_spec_that_no_gpu_can_match_gives_no_advice_about_nodes() -> None:
    """The pod has an earlier spec; the condition Valid says what is wrong with this one."""
    wrong = {"gpu": {"class": "t4"}, "engine": {"dtype": "bfloat16"}}
    pod = live_pods.unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.") | {
        "spec": pending(T4)
    }
    nodes = (node_offer(BY_NAME["l4"].document()),)
    found = message(judged(wrong, snapshot_of(live.deployment(), pods=[pod], nodes=nodes)), "Scheduled")
    assert "No node shows a GPU that gpu.class t4" in found
