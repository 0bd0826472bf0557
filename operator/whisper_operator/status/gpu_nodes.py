"""What nodes show of their GPUs, for a pod that gets none: taken, shared, of another kind, or excluded by the pod's own labels. Pure.

That GPUs are taken is said only where nodes show it: the pod may go to one by labels and taints, it has the resource, and the
scheduler finds too little of it. Each way out is checked against the node that it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from whisper_operator.errors import SpecError
from whisper_operator.gpus import label_command, node_selector_terms, platform_of_image, shows_its_gpu
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Gpu
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.accessors import get_str
from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.issue import command
from whisper_operator.status.node_match import fits_one_of, is_selected, untolerated_taint

ADD_ONE = "add one, and the pod goes there by itself"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What the scheduler's words hold."""

    is_insufficient: bool
    """They name the GPU's resource."""
    is_cordoned: bool
    """They name a cordoned node."""
    else_lacking: str
    """A reason besides GPUs, labels, taints and cordoned nodes, such as `Insufficient memory`; empty: none."""
    taints: str
    """Advice about taints."""


def seen(nodes: Sequence[NodeOffer] | None, asked: AskedNode, said: Said) -> str:
    """What the nodes show; empty if they show nothing, or were not read."""
    if nodes is None:
        return ""
    offering = [node for node in nodes if node.extended.get(asked.resource)]
    selected = [node for node in offering if is_selected(asked.pod, node)]
    if not offering:
        return _no_resource(asked.resource, nodes)
    if not selected:
        return _none_selected(asked, offering)
    usable = [node for node in selected if untolerated_taint(asked.pod, node) is None and not node.is_cordoned]
    if usable and said.is_insufficient and not said.else_lacking:
        return _taken(usable, asked, is_cordoned=said.is_cordoned)
    return "" if usable or said.is_cordoned else _tainted(selected, asked)


def _taken(usable: Sequence[NodeOffer], asked: AskedNode, *, is_cordoned: bool) -> str:
    n_gpus = sum(node.extended[asked.resource] for node in usable)
    where = f"{n_gpus} on {len(usable)} node{'s' if len(usable) > 1 else ''}"
    ways = "free one, uncordon a node (`kubectl uncordon NODE`), or" if is_cordoned else "free one or"
    return f"Every {asked.resource} that {asked.allow} is taken ({where}): {ways} add a node, and the pod goes there by itself."


def _no_resource(resource: str, nodes: Sequence[NodeOffer]) -> str:
    """No node has the resource, perhaps another one of NVIDIA's."""
    counts: dict[str, int] = {}
    for node in nodes:
        for name, n_devices in node.extended.items():
            if name.startswith("nvidia.com/") and n_devices:
                counts[name] = counts.get(name, 0) + n_devices
    if not counts:
        path = resource.replace(".", r"\.")
        see = command(f"kubectl get nodes -o custom-columns=NAME:.metadata.name,HAS:.status.allocatable.{path}")
        return (
            f"No node has {resource} ({see}): add a node with a GPU, or install NVIDIA's device plugin where there is one,"
            " and the pod goes there by itself."
        )
    offered = " and ".join(f"{n_devices} {name}" for name, n_devices in sorted(counts.items())[:3])
    first = min(counts)
    shared = " and gpu.shared: true (with engine.gpuMemoryUtilization)" if first.endswith(".shared") else ""
    return f"No node has {resource}, but nodes have {offered}: write gpu.resourceName: {first}{shared}, or add a node."


def _none_selected(asked: AskedNode, offering: Sequence[NodeOffer]) -> str:
    """Nodes have the resource, but their labels exclude them."""
    wanted = platform_of_image(asked.selector)
    of_platform = [
        node for node in offering if all(node.labels.get(key, value) == value for key, value in wanted.items())
    ]
    if not of_platform:
        return _other_platform(offering[0], asked.resource, wanted)
    gpu, engine = asked.spec.gpu, asked.spec.engine
    fitting = [node for node in of_platform if _fits(asked, gpu, node)]
    others = [node for node in of_platform if node not in fitting]
    shared = [node for node in others if _fits(asked, dataclasses.replace(gpu, shared=True), node)]
    unnamed = [node for node in others if node not in shared and not shows_its_gpu(node.labels)]
    for node in shared:
        if asked.has_own_labels(node):
            return (
                f"No node has a whole GPU that {asked.allow}, but those of node {node.name} are shared or slices (MIG):"
                " write gpu.shared: true and engine.gpuMemoryUtilization, or add a node."
            )
    for node in unnamed:
        if asked.has_own_labels(node):
            return (
                f"No label says which GPU node {node.name} has. If {asked.gpu} is meant to take it, install GPU"
                f" feature discovery, or label it: {command(label_command(node.name, gpu, engine))}, with what"
                " `nvidia-smi --query-gpu=compute_cap,memory.total --format=csv` says there."
            )
    if fitting:
        return _excluded(asked, fitting[0], f"a GPU that {asked.gpu} allows")
    if unnamed:
        return _excluded(asked, unnamed[0], asked.resource)
    return (
        f"{len(of_platform)} node{'s' if len(of_platform) > 1 else ''} ({of_platform[0].name}{_described(of_platform[0])})"
        f" with {asked.resource}, but none that {asked.allow}: {ADD_ONE}, or change"
        f" gpu.class{' or gpu.minMemoryGiB' if gpu.min_memory_gib else ''}."
    )


def _fits(asked: AskedNode, gpu: Gpu, node: NodeOffer) -> bool:
    """Whether the node's labels show a GPU that `gpu` and the engine allow."""
    try:
        terms = node_selector_terms(gpu, asked.spec.engine)
    except SpecError:  # Valid says so; the pod has an earlier spec
        return False
    return not terms or fits_one_of(terms, node)


def _excluded(asked: AskedNode, node: NodeOffer, has: str) -> str:
    """The labels that the pod asks for besides those of its GPU exclude a node."""
    start = f"Node {node.name} has {has}"
    missed = asked.missed_label(node)
    if missed is not None:
        field, key, value = missed
        if key in node.labels:
            return f"{start}, but {key} {node.labels[key]}, and {field} asks for {value}: change {field}, or add a node with both."
        label = command(f"kubectl label node {node.name} {key}={value}")
        return (
            f"{start}, but no label {key}, and {field} asks for {key}={value}: if the pod is meant to go there, label it"
            f" ({label}) or change {field}. Or add a node with both."
        )
    if not asked.has_own_labels(node):
        return f"{start}, but not the labels that pod.affinity asks for: change pod.affinity, or add a node with both."
    return (
        f"{start}, but the node affinity that the pod has from an earlier spec or version of the operator excludes it."
    )


def _other_platform(node: NodeOffer, resource: str, wanted: Mapping[str, str]) -> str:
    key, value = next((key, value) for key, value in wanted.items() if node.labels.get(key, value) != value)
    own = f" For an image of yours (pod.image), write {key} in pod.nodeSelector." if key.endswith("/arch") else ""
    return f"Node {node.name} has {resource}, but {key} {node.labels[key]}, and the images are for {value}: {ADD_ONE}.{own}"


def _described(node: NodeOffer) -> str:
    """What feature discovery says about the node's GPU."""
    major, minor, memory = (
        get_str(node.labels, f"nvidia.com/gpu.{name}") for name in ("compute.major", "compute.minor", "memory")
    )
    capability = f": compute capability {major}.{minor or '0'}" if major else ""
    return capability + (f", {memory} MiB" if capability and memory else "")


def _tainted(selected: Sequence[NodeOffer], asked: AskedNode) -> str:
    for node in selected:
        taint: Document = untolerated_taint(asked.pod, node) or {}
        key, value = get_str(taint, "key"), get_str(taint, "value")
        if key:
            named = f"{key}={value}" if value else key
            return f"Node {node.name} has {asked.resource}, and its taint {named} keeps pods away: name it in pod.tolerations, or add a node."
    return ""
