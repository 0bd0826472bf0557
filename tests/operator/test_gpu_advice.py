"""What the status says of a pod without a GPU, by what the nodes offer: each cause has its own way out, and none is only likely."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster_kit.simulated_nodes import BY_NAME, GPU, NodeSpec, discovered
from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.judgements import judged, message, short, snapshot_of
from whisper_operator.manifests import make_children
from whisper_operator.reconcile.cached_reader import node_offer
from whisper_operator.reconcile.kept_fields import kept_fields
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.node_match import is_selected, untolerated_taints

T4 = {"gpu": {"class": "t4"}}
AUTO = {"gpu": {"class": "auto"}}
MIG = {"nvidia.com/mig-1g.10gb": "7"}
SHARED = {"nvidia.com/gpu.shared": "4"}
CARD = {"nvidia.com/hostdev": "8"}
"""A network card."""
SLICED_A100 = NodeSpec(
    "a100-sliced", 0, {**BY_NAME["a100"].labels, "nvidia.com/mig-1g.10gb.memory": "9728"}, resources=MIG
)
LACKS = "node(s) didn't match Pod's node affinity/selector"


def pending(spec: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod of the endpoint as the operator makes it, without a node."""
    settings = operator_settings(defaults=defaults)
    served = frozenset({"ResourceClaimTemplate"})
    made = make_children(parsed_endpoint(spec), settings, served_kinds=served, ingress_controller="")
    (deployment,) = [child for child in made if child["kind"] == "Deployment"]
    template: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return template


def said(pod: dict[str, Any], nodes: list[NodeOffer], resource: str) -> str:
    """The scheduler's words: for each node the first filter that it fails."""
    counts: dict[str, int] = {}
    for node in nodes:
        words = f"Insufficient {resource}"
        if node.is_cordoned:
            words = "node(s) were unschedulable"
        elif untolerated_taints({"spec": pod}, node):
            words = "node(s) had untolerated taint(s)"
        elif not is_selected({"spec": pod}, node):
            words = LACKS
        counts[words] = counts.get(words, 0) + 1
    return f"0/{len(nodes)} nodes are available: {', '.join(f'{n} {words}' for words, n in counts.items())}."


def advice(
    spec: dict[str, Any],
    *specs: NodeSpec | NodeOffer,
    known: bool = True,
    defaults: dict[str, Any] | None = None,
    reason: str = "InsufficientGPU",
) -> str:
    offers = [each if isinstance(each, NodeOffer) else node_offer(each.document()) for each in specs]
    template = pending(spec, defaults)
    words = said(template, offers, spec["gpu"].get("resourceName", GPU))
    pod = live_pods.unscheduled(words) | {"spec": template}
    with_devices = tuple(each for each in offers if each.extended) if known else None
    status = judged(spec, snapshot_of(live.deployment(), pods=[kept_fields(pod)], nodes=with_devices))
    assert short(status)["Scheduled"] == f"False {reason}"
    _, _, way_out = message(status, "Scheduled").partition(words[-20:])
    return way_out.strip()


def labelled(spec: NodeSpec, **labels: str) -> NodeSpec:
    return dataclasses.replace(spec, labels={**spec.labels, **labels})


CPU = BY_NAME["cpu"]
PLAIN = NodeSpec("plain", 2)
"""A device plugin, and no label that names the GPU."""
TAKEN = "is taken"


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
T4_0 = BY_NAME["t4-0"]
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


CPU_POD = {"gpu": {"class": "none"}}
BY_DEVICE = {"gpu": {"class": "t4", "deviceClassName": "gpu.nvidia.com"}}
H100 = BY_NAME["h100"]
ENDS = "Pod a, which is ending, still has its GPU"


@pytest.mark.parametrize(
    ("spec", "ending", "on", "nodes", "is_free_soon"),
    [
        (T4, T4, "t4-0", [T4_0, CPU], True),
        (T4, AUTO, "t4-0", [T4_0, CPU], True),
        (T4, CPU_POD, "cpu", [T4_0, CPU], False),
        (T4, CPU_POD, "t4-0", [T4_0, CPU], False),
        (AUTO, T4, "t4-shared", [BY_NAME["t4-shared"], PLAIN], False),
        ({"gpu": {"class": "hopper"}}, T4, "t4-0", [T4_0, CPU], False),
        ({"gpu": {"class": "hopper"}}, T4, "t4-0", [T4_0, H100], False),
        (AUTO | {"pod": {"nodeSelector": {"zone": "a"}}}, AUTO, "t4-0", [T4_0, labelled(PLAIN, zone="a")], False),
        (T4, T4, "gone", [T4_0], False),
        # Nodes that may not be read: the ending pod asked for the same node, or not.
        (T4, T4, "t4-0", None, True),
        (T4, CPU_POD, "t4-0", None, False),
        ({"gpu": {"class": "hopper"}}, T4, "t4-0", None, False),
    ],
)  # fmt: skip
def test_pod_waits_for_an_ending_one_only_if_that_one_has_a_gpu_for_it(
    spec: dict[str, Any], ending: dict[str, Any], on: str, nodes: list[NodeSpec] | None, is_free_soon: bool
) -> None:
    offers = [node_offer(each.document()) for each in nodes or [T4_0, H100]]
    pod = live_pods.unscheduled(said(pending(spec), offers, GPU)) | {"spec": pending(spec)}
    leaving = live_pods.pod("a", terminating=True) | {"spec": {**pending(ending), "nodeName": on}}
    known = None if nodes is None else tuple(each for each in offers if each.extended)
    status = judged(spec, snapshot_of(live.deployment(), pods=[kept_fields(leaving), kept_fields(pod)], nodes=known))
    assert (ENDS in message(status, "Scheduled")) == is_free_soon
    assert short(status)["Progressing"].startswith("True") == is_free_soon


@pytest.mark.parametrize("ending", [BY_DEVICE, CPU_POD, T4])
def test_claimed_device_is_free_soon_only_if_the_ending_pod_has_the_same_claim(ending: dict[str, Any]) -> None:
    made = [
        live_pods.unscheduled("0/1 nodes are available: 1 cannot allocate all claims."),
        live_pods.pod("a", terminating=True),
    ]
    pod, leaving = (
        {**one, "spec": {**one["spec"], **pending(each)}} for one, each in zip(made, (BY_DEVICE, ending), strict=True)
    )
    status = judged(BY_DEVICE, snapshot_of(live.deployment(), pods=[kept_fields(leaving), kept_fields(pod)]))
    assert (ENDS in message(status, "Scheduled")) == (ending is BY_DEVICE)
    assert short(status)["Progressing"].startswith("True") == (ending is BY_DEVICE)


def tainted(*taints: tuple[str, str], effect: str = "NoSchedule") -> NodeOffer:
    documents = tuple({"key": key, "value": value, "effect": effect} for key, value in taints)
    return dataclasses.replace(node_offer(T4_0.document()), taints=documents)


REMOVED = "but is being removed (taint {}): add one, and the pod goes there by itself."
UNREADY = "but is not ready: its taint {} keeps pods away until that is over (`kubectl describe node t4-0`). Then the pod goes there by itself."


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


def test_label_command_makes_the_node_match() -> None:
    for spec in (T4, {"gpu": {"class": "auto", "minMemoryGiB": 24}}, {"gpu": {"class": "hopper"}}):
        found = advice(spec, PLAIN)
        _, _, command = found.partition("`kubectl label node plain ")
        labels = dict(each.split("=") for each in command.partition("`")[0].split())
        assert TAKEN in advice(spec, dataclasses.replace(PLAIN, labels=labels))


def test_cordoned_node_is_not_called_taken() -> None:
    cordoned = dataclasses.replace(node_offer(BY_NAME["t4-0"].document()), is_cordoned=True)
    found = advice(T4, cordoned, CPU)
    assert TAKEN not in found
    assert "`kubectl uncordon NODE`" in found


@pytest.mark.parametrize("spec", [T4, AUTO])
def test_nothing_is_called_taken_where_nodes_may_not_be_read(spec: dict[str, Any]) -> None:
    for node in (CPU, PLAIN, BY_NAME["t4-0"], BY_NAME["t4-shared"]):
        assert TAKEN not in advice(spec, node, known=False)


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
