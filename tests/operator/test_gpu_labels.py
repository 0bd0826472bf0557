"""Nodes without GPU feature discovery's capability, and memory as GPUs are sold."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_kit.simulated_nodes import CATALOGUE, discovered
from operator_kit.node_affinity import fits_one_of
from whisper_operator.gpus import node_selector_terms
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Gpu

NODES = {node.name: node for node in CATALOGUE if node.gpus}
CLASSES = [each for each in GpuClass if each is not GpuClass.NONE]
ACCELERATOR = "k8s.amazonaws.com/accelerator"
PRODUCT = "nvidia.com/gpu.product"
TYPE = "node.kubernetes.io/instance-type"


def fits(gpu: Gpu, labels: dict[str, str]) -> bool:
    return fits_one_of(node_selector_terms(gpu), labels)


def nodes_of(gpu_class: GpuClass, **more: Any) -> set[str]:
    terms = node_selector_terms(Gpu(class_=gpu_class, **more))
    return {name for name, node in NODES.items() if fits_one_of(terms, node.labels)}


@pytest.mark.parametrize(
    ("sold_gib", "reported_mib"),
    [(16, 15_109), (16, 15_360), (24, 23_028), (24, 23_034), (40, 39_538), (48, 46_068), (80, 81_559), (10, 9_728)],
)
def test_memory_counts_as_the_gpu_is_sold(sold_gib: int, reported_mib: int) -> None:
    labels = discovered("any", "any", "8.6", reported_mib)
    assert fits(Gpu(min_memory_gib=sold_gib), labels)
    assert not fits(Gpu(min_memory_gib=sold_gib * 5 // 4), labels)


def test_gpu_of_eleven_gib_does_not_count_as_twelve() -> None:
    assert not fits(Gpu(min_memory_gib=12), discovered("NVIDIA-GeForce-RTX-2080-Ti", "turing", "7.5", 11_264))


def test_seventeen_gib_exclude_every_t4() -> None:
    assert nodes_of(GpuClass.AUTO, min_memory_gib=16) >= {"t4-0", "t4-1", "gke-t4", "karpenter-t4"}
    assert nodes_of(GpuClass.AUTO, min_memory_gib=17) == {"a100", "a10", "l4", "h100", "b200", "gke-l4"}


def test_eighty_gib_match_an_h100_and_not_the_smaller_a100() -> None:
    assert nodes_of(GpuClass.HOPPER, min_memory_gib=80) == {"h100"}
    assert nodes_of(GpuClass.AMPERE, min_memory_gib=24) == {"a10", "a100"}
    assert nodes_of(GpuClass.AMPERE, min_memory_gib=80) == set()


@pytest.mark.parametrize(
    ("labels", "gpu_class"),
    [
        ({PRODUCT: "Tesla-T4"}, GpuClass.T4),
        ({PRODUCT: "NVIDIA-A100-SXM4-80GB"}, GpuClass.AMPERE),
        ({PRODUCT: "NVIDIA-H100-80GB-HBM3"}, GpuClass.HOPPER),
        ({ACCELERATOR: "nvidia-tesla-t4"}, GpuClass.T4),
        ({ACCELERATOR: "nvidia-l4"}, GpuClass.ADA),
        ({ACCELERATOR: "NVIDIA-A10G"}, GpuClass.AMPERE),
        ({TYPE: "VM.GPU.A10.1"}, GpuClass.AMPERE),
        ({TYPE: "BM.GPU.H100.8"}, GpuClass.HOPPER),
        ({TYPE: "VM.GPU.L40S.1"}, GpuClass.ADA),
    ],
)
def test_single_label_that_names_the_gpu_suffices(labels: dict[str, str], gpu_class: GpuClass) -> None:
    found = {each for each in CLASSES if fits(Gpu(class_=each), labels)}
    assert found == {GpuClass.AUTO, gpu_class}
    assert fits(Gpu(min_memory_gib=16), labels)


@pytest.mark.parametrize(
    "labels", [{PRODUCT: "Tesla-V100-SXM2-16GB"}, {ACCELERATOR: "nvidia-tesla-v100"}, {TYPE: "BM.GPU3.8"}]
)
def test_single_label_of_a_gpu_that_is_too_old_excludes_it(labels: dict[str, str]) -> None:
    assert not fits(Gpu(), labels)
    assert not fits(Gpu(min_memory_gib=10), labels)


def test_accelerator_that_stands_for_two_sizes_counts_as_the_smaller() -> None:
    labels = {ACCELERATOR: "nvidia-tesla-a100"}
    assert fits(Gpu(class_=GpuClass.AMPERE, min_memory_gib=40), labels)
    assert not fits(Gpu(class_=GpuClass.AMPERE, min_memory_gib=80), labels)


def test_shared_gpu_that_only_its_product_shows_is_avoided() -> None:
    labels = {PRODUCT: "Tesla-T4-SHARED"}
    for gpu_class in (GpuClass.T4, GpuClass.AUTO):
        assert not fits(Gpu(class_=gpu_class), labels)
        assert fits(Gpu(class_=gpu_class, shared=True), labels)
