"""GPUs as clusters have them, each a row: the real scheduler places the pod where the server runs, or the status says why not.

All rows are one batch: a node belongs to the row whose name its label has, and the row's pods select that label. The status is
made of the scheduler's words and the row's nodes; what the operator itself reads and writes is in `test_truth_needs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.namespaces import fresh_namespace
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import NodeSpec, discovered
from operator_kit.chosen import operator_settings
from operator_kit.endpoints import merged, parsed_endpoint
from operator_kit.judgements import by_type, judged, snapshot_of
from operator_kit.placed import scheduler_said
from whisper_operator.manifests import make_children
from whisper_operator.names import selector_text
from whisper_operator.reconcile.cached_reader import node_offer

ROW = "test.whisper-operator.io/row"
TYPE, ARCH, OS = "node.kubernetes.io/instance-type", "kubernetes.io/arch", "kubernetes.io/os"
GKE, EKS, GFD_PRODUCT = "cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator", "nvidia.com/gpu.product"
SHARED = {"gpu.replicas": "4", "gpu.sharing-strategy": "time-slicing"}
SLICE = {"mig.capable": "true", "mig.strategy": "single", "gpu.slices.gi": "1", "gpu.slices.ci": "1"}
MIG = "nvidia.com/mig-2g.10gb"

V100 = discovered("Tesla-V100-SXM2-16GB", "volta", "7.0", 16384)
T4 = discovered("Tesla-T4", "turing", "7.5", 15360)
A10G = discovered("NVIDIA-A10G", "ampere", "8.6", 23028)
A100 = discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40960)
H100 = discovered("NVIDIA-H100-80GB-HBM3", "hopper", "9.0", 81559)
GH200 = {**discovered("NVIDIA-GH200-480GB", "hopper", "9.0", 97871), ARCH: "arm64"}
MIXED = {
    **discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40960, other={"mig.strategy": "mixed"}),
    f"{MIG}.memory": "9856",
}


@dataclass(frozen=True)
class Row:
    """`on` is the node that the pod gets; `says` is in the message of the pod that gets none."""

    gpu: Mapping[str, Any]
    nodes: tuple[NodeSpec, ...] = ()
    on: str = ""
    says: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def node(
    name: str, labels: Mapping[str, str] | None = None, taint: str | None = None, gpus: int = 1, **more: Any
) -> NodeSpec:
    return NodeSpec(name, gpus, labels or {}, taint, **more)


AUTO = {"class": "auto"}
NO_GPU = {"class": "none"}
TOO_OLD = "with nvidia.com/gpu, but none that gpu.class auto"

ROWS: dict[str, Row] = {
    # Where the server would refuse to run.
    "v100-gfd": Row(AUTO, (node("v100-gfd", V100),), says=TOO_OLD),
    "v100-gke": Row(AUTO, (node("v100-gke", {GKE: "nvidia-tesla-v100"}),), says=TOO_OLD),
    "v100-aws": Row(AUTO, (node("v100-aws", {TYPE: "p3.2xlarge"}),), says=TOO_OLD),
    "t4-bfloat16": Row(
        AUTO, (node("t4-b", T4),), says="compute capability 8.0", more={"engine": {"dtype": "bfloat16"}}
    ),
    "t4-fp8": Row(AUTO, (node("t4-f", T4),), says="compute capability 8.9", more={"engine": {"kvCacheDtype": "fp8"}}),
    "t4-flash": Row(
        AUTO, (node("t4-a", T4),), says="compute capability 8.0", more={"engine": {"attentionBackend": "FLASH_ATTN"}}
    ),
    "cpu-arm64": Row(NO_GPU, (node("arm", {ARCH: "arm64"}, gpus=0),), says="kubernetes.io/arch amd64"),
    "cpu-windows": Row(NO_GPU, (node("win", {OS: "windows"}, gpus=0),), says="kubernetes.io/os linux"),
    "hopper-gh200": Row(
        {"class": "hopper"}, (node("gh200", GH200),), says="kubernetes.io/arch arm64, and the images are for amd64"
    ),
    # GPUs that are there are found.
    "t4": Row(AUTO, (node("t4", T4, "present"),), on="t4"),
    "hopper": Row({"class": "hopper"}, (node("h100", H100),), on="h100"),
    "h100-80": Row({**AUTO, "minMemoryGiB": 80}, (node("h100-80", H100),), on="h100-80"),
    "a10g-24": Row({"class": "ampere", "minMemoryGiB": 24}, (node("a10g", A10G),), on="a10g"),
    "t4-16": Row({"class": "t4", "minMemoryGiB": 16}, (node("t4-16", T4),), on="t4-16"),
    "mig-10": Row(
        {"class": "ampere", "resourceName": MIG, "minMemoryGiB": 10},
        (node("mig-10", MIXED, gpus=0, resources={MIG: "3"}),),
        on="mig-10",
    ),
    "a100-40-80": Row({"class": "ampere", "minMemoryGiB": 80}, (node("a100-40", A100),), says="gpu.minMemoryGiB"),
    "plugin-only": Row(AUTO, (node("plugin"),), on="plugin"),
    "plugin-only-t4": Row(
        {"class": "t4"}, (node("plugin-t4"),), says="`kubectl label node plugin-t4 nvidia.com/gpu.compute.major=7 "
    ),
    "product-only": Row({"class": "ampere"}, (node("product", {GFD_PRODUCT: "NVIDIA-A100-SXM4-80GB"}),), on="product"),
    "accelerator": Row({"class": "t4"}, (node("accel", {EKS: "nvidia-tesla-t4"}, "true"),), on="accel"),
    "oracle": Row({"class": "ada"}, (node("oracle", {TYPE: "VM.GPU.L40S.1"}),), on="oracle"),
    "gke-l4": Row({"class": "ada"}, (node("gke-l4", {GKE: "nvidia-l4"}, "present"),), on="gke-l4"),
    "shared": Row(
        {"class": "t4", "shared": True},
        (node("sliced", discovered("Tesla-T4-SHARED", "turing", "7.5", 15360, other=SHARED), gpus=4),),
        on="sliced",
        more={"engine": {"gpuMemoryUtilization": 0.4}},
    ),
    "cpu-beside-gpu": Row(NO_GPU, (node("with-gpu", T4), node("without", gpus=0)), on="without"),
    # What the status says is true.
    "no-gpu-at-all": Row(AUTO, (node("bare", gpus=0),), says="No node has nvidia.com/gpu"),
    "time-sliced-only": Row(
        {"class": "t4"},
        (node("sliced-only", discovered("Tesla-T4-SHARED", "turing", "7.5", 15360, other=SHARED), gpus=4),),
        says="are shared or slices (MIG): write gpu.shared: true",
    ),
    "mig-only": Row(
        {"class": "ampere"},
        (node("mig-only", discovered("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "ampere", "8.0", 4864, other=SLICE), gpus=7),),
        says="are shared or slices (MIG): write gpu.shared: true",
    ),
    "mig-by-its-name": Row(
        {"class": "ampere"}, (node("mixed", MIXED, gpus=0, resources={MIG: "3"}),), says="gpu.resourceName"
    ),
    "taken": Row({"class": "t4"}, (node("one", T4),), on="one", says="is taken (1 on 1 node)", more={"replicas": 2}),
    "a-class-too-high": Row({"class": "blackwell"}, (node("ampere", A100),), says="none that gpu.class blackwell"),
    "no-memory-left": Row(
        {"class": "t4"},
        (node("small", T4, memory="4Gi"),),
        says="Insufficient memory",
        more={"pod": {"resources": {"requests": {"memory": "8Gi"}}}},
    ),
}


def spec_of(name: str) -> Document:
    return merged({"gpu": ROWS[name].gpu}, merged(ROWS[name].more, {"pod": {"nodeSelector": {ROW: name}}}))


@pytest.fixture(scope="module")
def pods(cluster: Cluster) -> Iterator[dict[str, list[Document]]]:
    """The pods of each row, once the scheduler has decided about all."""
    simulated = Nodes(cluster)
    simulated.only(*(labelled(one, name) for name, row in ROWS.items() for one in row.nodes))
    with fresh_namespace(cluster) as namespace:
        cluster.apply(*(child for name in ROWS for child in children(name, namespace)))

        def decided() -> dict[str, list[Document]] | None:
            found = {name: cluster.find("pods", namespace, selector_text(name)) for name in ROWS}
            is_decided = all(
                len(found[name]) == row.more.get("replicas", 1)
                and all(pod["spec"].get("nodeName") or scheduler_said(pod) for pod in found[name])
                for name, row in ROWS.items()
            )
            return found if is_decided else None

        yield cluster.wait(decided, 90, "the scheduler has decided about every pod", every_s=1)
    simulated.restore()


def labelled(one: NodeSpec, row: str) -> NodeSpec:
    labels = {**one.labels, ROW: row}
    return NodeSpec(one.name, one.gpus, labels, one.taint, memory=one.memory, resources=one.resources)


def children(name: str, namespace: str) -> list[Document]:
    endpoint = parsed_endpoint(spec_of(name), name=name, namespace=namespace)
    made = make_children(endpoint, operator_settings(), served_kinds=frozenset(), ingress_controller="")
    chosen = [child for child in made if child["kind"] in ("Deployment", "ServiceAccount")]
    for child in chosen:
        del child["metadata"]["ownerReferences"]
    return chosen


def test_there_are_31_rows() -> None:
    assert len(ROWS) == 31


@pytest.mark.parametrize("name", ROWS)
def test_pod_is_placed_where_the_server_runs_or_the_status_says_why_not(
    cluster: Cluster, pods: dict[str, list[Document]], name: str
) -> None:
    row = ROWS[name]
    placed = [pod["spec"]["nodeName"] for pod in pods[name] if "nodeName" in pod["spec"]]
    assert placed == ([row.on] if row.on else [])
    waiting = [pod for pod in pods[name] if "nodeName" not in pod["spec"]]
    assert bool(waiting) is bool(row.says)
    if waiting:
        offers = tuple(node_offer(one) for one in cluster.find("nodes", None, f"{ROW}={name}"))
        snapshot = snapshot_of(pods=pods[name], nodes=tuple(one for one in offers if one.extended))
        status, _, message = by_type(judged(spec_of(name), snapshot))["Scheduled"]
        assert status == "False"
        assert row.says in message
        assert ("is taken" in message) is (name == "taken")
