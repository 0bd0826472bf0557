"""The nodes of a GPU class, with labels of every family."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cluster_kit.simulated_nodes import CATALOGUE, discovered
from operator_kit.node_affinity import fits_one_of
from whisper_operator.errors import SpecError
from whisper_operator.gpus import node_selector_terms
from whisper_operator.gpus.product_table import PRODUCTS
from whisper_operator.gpus.products import Product, least_reported_mib
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Engine, Gpu
from whisper_runtime.capability import VLLM, needed
from whisper_runtime.choices import AttentionBackend, DType, EngineName, KvCacheDType

NODES = {node.name: node for node in CATALOGUE if node.gpus}
CLASSES = [each for each in GpuClass if each is not GpuClass.NONE]


def nodes_of(gpu_class: GpuClass, **more: Any) -> set[str]:
    terms = node_selector_terms(Gpu(class_=gpu_class, **more))
    return {name for name, node in NODES.items() if fits_one_of(terms, node.labels)}


def fits(gpu: Gpu, labels: dict[str, str]) -> bool:
    return fits_one_of(node_selector_terms(gpu), labels)


@pytest.mark.parametrize(
    ("gpu_class", "expected"),
    [
        (GpuClass.T4, {"t4-0", "t4-1", "gke-t4", "karpenter-t4"}),
        (GpuClass.AMPERE, {"a100", "a10"}),
        (GpuClass.ADA, {"l4", "gke-l4"}),
        (GpuClass.HOPPER, {"h100"}),
        (GpuClass.BLACKWELL, {"b200"}),
        (GpuClass.AUTO, set(NODES) - {"t4-shared", "a100-mig"}),
    ],
)
def test_class_matches_its_nodes_and_no_others(gpu_class: GpuClass, expected: set[str]) -> None:
    assert nodes_of(gpu_class) == expected


@pytest.mark.parametrize(
    ("gpu_class", "expected"),
    [
        (GpuClass.T4, {"t4-0", "t4-1", "t4-shared", "gke-t4", "karpenter-t4"}),
        (GpuClass.AMPERE, {"a100", "a10", "a100-mig"}),
        (GpuClass.AUTO, set(NODES)),
    ],
)
def test_shared_gpus_match_only_on_request(gpu_class: GpuClass, expected: set[str]) -> None:
    assert nodes_of(gpu_class, shared=True) == expected


def test_class_none_has_no_terms() -> None:
    assert node_selector_terms(Gpu(class_=GpuClass.NONE)) == []


def test_memory_is_never_matched_exactly() -> None:
    gpu = Gpu(class_=GpuClass.AMPERE, min_memory_gib=38)
    for reported in (39_538, 40_536, 40_960, 81_920):
        assert fits(gpu, discovered("NVIDIA-A100", "ampere", "8.0", reported))


@pytest.mark.parametrize("product", ["Tesla-T4", "Tesla-T4-SHARED", "NVIDIA-T4", "Tesla-T4-MIG-1g.5gb"])
def test_product_name_does_not_matter(product: str) -> None:
    assert fits(Gpu(class_=GpuClass.T4), discovered(product, "turing", "7.5", 15_360))


def test_terms_use_only_labels_of_gpu_feature_discovery() -> None:
    published = set(discovered("x", "y", "7.5", 1, other={"gpu.slices.gi": "1"}))
    for gpu_class in CLASSES:
        keys = {each["key"] for term in node_selector_terms(Gpu(class_=gpu_class)) for each in term["matchExpressions"]}
        assert {key for key in keys if key.startswith("nvidia.com/")} <= published


def test_node_without_minor_label_is_not_ampere() -> None:
    assert not fits(Gpu(class_=GpuClass.AMPERE), {"nvidia.com/gpu.compute.major": "8"})


@pytest.mark.parametrize(
    ("capability", "gpu_class"),
    [
        ("7.0", None),
        ("7.5", GpuClass.T4),
        ("8.0", GpuClass.AMPERE),
        ("8.6", GpuClass.AMPERE),
        ("8.7", GpuClass.AMPERE),
        ("8.9", GpuClass.ADA),
        ("9.0", GpuClass.HOPPER),
        ("10.0", GpuClass.BLACKWELL),
        ("10.3", GpuClass.BLACKWELL),
        ("12.0", GpuClass.BLACKWELL),
        ("13.0", None),
    ],
)
def test_compute_capability_belongs_to_one_class(capability: str, gpu_class: GpuClass | None) -> None:
    labels = discovered("whatever", "whatever", capability, 24_576)
    found = {each for each in CLASSES if each is not GpuClass.AUTO and fits(Gpu(class_=each), labels)}
    assert found == ({gpu_class} if gpu_class else set())


def test_discovered_labels_outrank_cloud_labels() -> None:
    labels = {**discovered("NVIDIA-L4", "ada-lovelace", "8.9", 23_034), **NODES["gke-t4"].labels}
    assert not fits(Gpu(class_=GpuClass.T4), labels)
    assert fits(Gpu(class_=GpuClass.ADA), labels)


@pytest.mark.parametrize("strategy", ["time-sharing", "mps"])
def test_shared_gpus_of_gke_are_avoided(strategy: str) -> None:
    labels = {**NODES["gke-t4"].labels, "cloud.google.com/gke-gpu-sharing-strategy": strategy}
    for gpu_class in (GpuClass.T4, GpuClass.AUTO):
        assert not fits(Gpu(class_=gpu_class), labels)
        assert fits(Gpu(class_=gpu_class, shared=True), labels)


def test_slices_of_gke_are_avoided_and_never_taken_for_whole() -> None:
    labels = {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
        "cloud.google.com/gke-gpu-partition-size": "1g.5gb",
    }
    assert not fits(Gpu(class_=GpuClass.AMPERE), labels)
    assert fits(Gpu(class_=GpuClass.AMPERE, shared=True), labels)
    assert not fits(Gpu(class_=GpuClass.AMPERE, shared=True, min_memory_gib=10), labels)


def test_machines_with_a_fraction_of_a_gpu_are_avoided() -> None:
    labels = {
        "node.kubernetes.io/instance-type": "g6f.xlarge",
        "karpenter.k8s.aws/instance-gpu-name": "l4",
        "karpenter.k8s.aws/instance-gpu-memory": "2861",
    }
    for gpu_class in (GpuClass.ADA, GpuClass.AUTO):
        assert not fits(Gpu(class_=gpu_class), labels)
        assert fits(Gpu(class_=gpu_class, shared=True), labels)
    assert not fits(Gpu(class_=GpuClass.ADA), {**discovered("NVIDIA-L4-3Q", "ada-lovelace", "8.9", 3072), **labels})


def test_mig_resource_uses_its_own_labels() -> None:
    resource = "nvidia.com/mig-2g.10gb"
    labels = {
        **discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40_960, other={"mig.strategy": "mixed"}),
        f"{resource}.memory": "9856",
        f"{resource}.sharing-strategy": "none",
    }
    assert fits(Gpu(class_=GpuClass.AMPERE, resource_name=resource), labels)
    assert fits(Gpu(class_=GpuClass.AMPERE, resource_name=resource, min_memory_gib=10), labels)
    assert not fits(Gpu(class_=GpuClass.AMPERE, resource_name=resource, min_memory_gib=12), labels)
    shared = {**labels, f"{resource}.sharing-strategy": "time-slicing"}
    assert not fits(Gpu(class_=GpuClass.AMPERE, resource_name=resource), shared)


@pytest.mark.parametrize(("gpu_class", "largest"), [(GpuClass.T4, 16), (GpuClass.ADA, 48), (GpuClass.HOPPER, 144)])
def test_memory_above_the_classs_maximum_is_refused(gpu_class: GpuClass, largest: int) -> None:
    assert node_selector_terms(Gpu(class_=gpu_class, min_memory_gib=largest))
    with pytest.raises(SpecError, match=rf"spec\.gpu\.minMemoryGiB: no GPU of class {gpu_class} .* {largest} or less"):
        node_selector_terms(Gpu(class_=gpu_class, min_memory_gib=largest + 1))


def machines(product: Product) -> list[dict[str, str]]:
    """A node of each family that sells it."""
    found = [{"cloud.google.com/gke-accelerator": name} for name in product.gke]
    found += [{"node.kubernetes.io/instance-type": name} for name in product.instance_types]
    found += [{"nvidia.com/gpu.product": name} for name in product.gfd]
    for domain in ("karpenter.k8s.aws", "eks.amazonaws.com") if product.aws else ():
        memory = str(product.aws_memory_mib)
        found.append({f"{domain}/instance-gpu-name": product.aws, f"{domain}/instance-gpu-memory": memory})
    return found


@pytest.mark.parametrize("gpu_class", CLASSES)
def test_cloud_products_are_found_by_class_and_memory(gpu_class: GpuClass) -> None:
    for product, minimum in itertools.product(PRODUCTS, (1, 10, 15, 16, 22, 24, 32, 40, 44, 45, 64, 80, 96, 140, 180)):
        gpu = Gpu(class_=gpu_class, min_memory_gib=minimum)
        try:
            terms = node_selector_terms(gpu)
        except SpecError:
            continue
        is_wanted = gpu_class is product.gpu_class or (gpu_class is GpuClass.AUTO and product.capability >= VLLM)
        expected = is_wanted and product.memory_mib >= least_reported_mib(minimum)
        for labels in machines(product):
            assert fits_one_of(terms, labels) == (expected and not product.part), (minimum, labels)


def test_machine_is_in_the_table_once() -> None:
    names = [name for product in PRODUCTS for name in (*product.gfd, *product.gke, *product.instance_types)]
    assert sorted(names) == sorted(set(names))


ENGINES = [
    Engine(type=type_, dtype=dtype, kv_cache_dtype=cache, attention_backend=backend)
    for type_, dtype, cache, backend in itertools.product(
        (EngineName.AUTO, EngineName.VLLM, EngineName.TORCH),
        (DType.AUTO, DType.BFLOAT16),
        (None, KvCacheDType.FP8),
        (None, AttentionBackend.FLASH_ATTN),
    )
]


@pytest.mark.parametrize("minimum", [None, 4])
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_auto_matches_exactly_the_gpus_on_which_the_server_starts(engine: Engine, minimum: int | None) -> None:
    terms = node_selector_terms(Gpu(min_memory_gib=minimum), engine)
    wanted = needed(engine.type, engine.dtype, engine.kv_cache_dtype, engine.attention_backend)
    for product in (each for each in PRODUCTS if not each.part):
        major, minor = product.capability
        found = discovered("any", "any", f"{major}.{minor}", product.memory_mib)
        is_large_enough = product.memory_mib >= least_reported_mib(minimum or 0)
        expected = wanted.holds(product.capability) and is_large_enough
        assert fits_one_of(terms, found) == expected, product
        for labels in machines(product):
            expected = wanted.holds(product.capability) and is_large_enough and not product.part
            assert fits_one_of(terms, labels) == expected, labels


def test_auto_takes_unlabelled_nodes_only_if_the_spec_asks_for_nothing_more() -> None:
    assert fits(Gpu(), {})
    assert not fits_one_of(node_selector_terms(Gpu(), Engine(dtype=DType.BFLOAT16)), {})


def test_class_on_which_the_server_does_not_start_is_refused() -> None:
    flash = Engine(kv_cache_dtype=KvCacheDType.FP8, attention_backend=AttentionBackend.FLASH_ATTN)
    assert node_selector_terms(Gpu(class_=GpuClass.HOPPER), flash)
    with pytest.raises(SpecError, match=r"spec\.gpu\.class: .* Write hopper or auto"):
        node_selector_terms(Gpu(class_=GpuClass.ADA), flash)
