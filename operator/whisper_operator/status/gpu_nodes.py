"""What nodes show of their GPUs, for a pod that gets none: taken, shared, of another kind, or excluded by the pod's own labels. Pure.

That GPUs are taken is said only where nodes show it: the pod may go to one by labels and taints, it has the resource, and the
scheduler finds too little of it. Each way out is checked against the node that it names.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from whisper_operator.errors import SpecError
from whisper_operator.gpus import MAJOR, has_unknown_name, label_command, lacking_labels
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.accessors import get_str
from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.issue import command
from whisper_operator.status.node_match import BEING_REMOVED, NOT_READY, is_selected, untolerated_taints
from whisper_operator.status.other_resources import no_resource, other_resource

ADD_ONE = "add one, and the pod goes there by itself"
LEAVE_OUT = "leave out the GPU in pod.sidecars and pod.initContainers (the server's is the operator's to add)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What the scheduler's words hold."""

    is_insufficient: bool
    """They name the GPU's resource."""
    is_cordoned: bool
    """They name a cordoned node."""
    else_lacking: tuple[str, ...]
    """Reasons besides GPUs, labels, taints and cordoned nodes, such as `Insufficient memory`."""
    taints: str
    """Advice about taints."""


def seen(nodes: Sequence[NodeOffer] | None, asked: AskedNode, said: Said) -> str:
    """What the nodes show; empty if they show nothing, or were not read."""
    try:
        return _seen(nodes, asked, said) if nodes is not None else ""
    except SpecError:  # no GPU can match: the condition Valid says so, and the pod has an earlier spec
        return ""


def _seen(nodes: Sequence[NodeOffer], asked: AskedNode, said: Said) -> str:
    offering = [node for node in nodes if node.extended.get(asked.resource)]
    selected = [node for node in offering if is_selected(asked.pod, node)]
    if not offering:
        return no_resource(asked, nodes)
    if not selected:
        return _none_selected(asked, offering, nodes)
    usable = [node for node in selected if not untolerated_taints(asked.pod, node) and not node.is_cordoned]
    if usable and said.is_insufficient and not said.else_lacking:
        return _taken(usable, asked, is_cordoned=said.is_cordoned)
    return "" if usable or said.is_cordoned else _tainted(selected, asked)


def _taken(usable: Sequence[NodeOffer], asked: AskedNode, *, is_cordoned: bool) -> str:
    largest = max(usable, key=lambda node: node.extended[asked.resource])
    if asked.n_gpus > largest.extended[asked.resource]:
        return (
            f"The pod needs {asked.n_gpus} {asked.resource}, and no node with some that {asked.allow} has more than"
            f" {largest.extended[asked.resource]} ({largest.name}): {LEAVE_OUT}, or add a larger node."
        )
    n_gpus = sum(node.extended[asked.resource] for node in usable)
    where = f"{n_gpus} on {len(usable)} node{'s' if len(usable) > 1 else ''}"
    uncordon = ", uncordon a node (`kubectl uncordon NODE`)," if is_cordoned else ""
    if asked.n_gpus > 1:
        return (
            f"No node has {asked.n_gpus} free {asked.resource} that {asked.allow} ({where}), as many as the pod needs:"
            f" {LEAVE_OUT}, free some{uncordon} or add a node."
        )
    return (
        f"Every {asked.resource} that {asked.allow} is taken ({where}): free one{uncordon} or add a node,"
        " and the pod goes there by itself."
    )


def _none_selected(asked: AskedNode, offering: Sequence[NodeOffer], nodes: Sequence[NodeOffer]) -> str:
    """Nodes have the resource, but their labels exclude them."""
    of_platform = [node for node in offering if asked.runs_images(node)]
    if not of_platform:
        return _other_platform(offering[0], asked)
    fitting = asked.nodes_for(asked.spec.gpu, of_platform)
    others = _without(fitting, of_platform)
    shared = asked.nodes_for(dataclasses.replace(asked.spec.gpu, shared=True), others)
    unnamed = asked.nodes_left_open(_without(shared, others))
    ways = itertools.chain(
        (_shared(node, asked) for node in shared if asked.has_own_labels(node)),
        (_unnamed(node, asked) for node in unnamed if asked.has_own_labels(node)),
        (_excluded(node, asked, f"a GPU that {asked.gpu} allows") for node in fitting),
        (_excluded(node, asked, asked.resource) for node in unnamed),
    )
    return next(ways, None) or _none_fits(asked, of_platform, nodes)


def _without(some: Sequence[NodeOffer], nodes: Sequence[NodeOffer]) -> list[NodeOffer]:
    names = {node.name for node in some}
    return [node for node in nodes if node.name not in names]


def _shared(node: NodeOffer, asked: AskedNode) -> str:
    return (
        f"No node has a whole GPU that {asked.allow}, but those of node {node.name} are shared or slices (MIG):"
        " write gpu.shared: true and engine.gpuMemoryUtilization, or add a node."
    )


def _unnamed(node: NodeOffer, asked: AskedNode) -> str:
    gpu, engine = asked.spec.gpu, asked.spec.engine
    label = command(label_command(node.name, node.labels, gpu, engine))
    lacking = lacking_labels(node.labels, gpu, engine)
    if MAJOR in node.labels:
        start = f"Node {node.name} has no label {' and '.join(lacking)}."
    elif has_unknown_name(node.labels):
        start = f"No label that the operator knows says which GPU node {node.name} has."
    else:
        start = f"No label says which GPU node {node.name} has."
    return (
        f"{start} If {asked.gpu} is meant to take it, install GPU feature discovery, or label it: {label}, with what"
        " `nvidia-smi --query-gpu=compute_cap,memory.total --format=csv` says there."
    )


def _none_fits(asked: AskedNode, of_platform: Sequence[NodeOffer], nodes: Sequence[NodeOffer]) -> str:
    example, many = of_platform[0], "s" if len(of_platform) > 1 else ""
    start = f"{len(of_platform)} node{many} ({example.name}{_described(example)}) with {asked.resource}, but none that {asked.allow}"
    instead = other_resource(asked, nodes)
    if instead:
        return f"{start}; {instead}"
    return f"{start}: {ADD_ONE}, or change gpu.class{' or gpu.minMemoryGiB' if asked.spec.gpu.min_memory_gib else ''}."


def _excluded(node: NodeOffer, asked: AskedNode, has: str) -> str:
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


def _other_platform(node: NodeOffer, asked: AskedNode) -> str:
    key, value = next((key, value) for key, value in asked.platform.items() if node.labels.get(key, value) != value)
    own = f" For an image of yours (pod.image), write {key} in pod.nodeSelector." if key.endswith("/arch") else ""
    return f"Node {node.name} has {asked.resource}, but {key} {node.labels[key]}, and the images are for {value}: {ADD_ONE}.{own}"


def _described(node: NodeOffer) -> str:
    """What feature discovery says about the node's GPU."""
    major, minor, memory = (
        get_str(node.labels, f"nvidia.com/gpu.{name}") for name in ("compute.major", "compute.minor", "memory")
    )
    capability = f": compute capability {major}.{minor or '0'}" if major else ""
    return capability + (f", {memory} MiB" if capability and memory else "")


def _tainted(selected: Sequence[NodeOffer], asked: AskedNode) -> str:
    """Taints keep the pod away: those that an administrator set, or else those that controllers set and take off themselves."""
    by_node = [(node, untolerated_taints(asked.pod, node)) for node in selected]
    for node, taints in by_node:
        lasting = [_written(taint) for taint in taints if not _key(taint).startswith((*NOT_READY, *BEING_REMOVED))]
        if lasting:
            its, keep, them = ("its taint", "keeps", "it") if len(lasting) == 1 else ("its taints", "keep", "them")
            return (
                f"Node {node.name} has {asked.resource}, and {its} {' and '.join(lasting)} {keep} pods away: name {them} in"
                " pod.tolerations, or add a node."
            )
    keys = [(node, [_key(taint) for taint in taints]) for node, taints in by_node if taints]
    for node, of_node in sorted(keys, key=lambda each: each[1][0].startswith(BEING_REMOVED)):
        start = f"Node {node.name} has {asked.resource}, but"
        if any(key.startswith(BEING_REMOVED) for key in of_node):
            return f"{start} is being removed (taint {of_node[0]}): {ADD_ONE}."
        see = command(f"kubectl describe node {node.name}")
        return f"{start} is not ready: its taint {of_node[0]} keeps pods away until that is over ({see}). Then the pod can go there."
    return ""


def _written(taint: Document) -> str:
    value = get_str(taint, "value")
    return f"{_key(taint)}={value}" if value else _key(taint)


def _key(taint: Document) -> str:
    return get_str(taint, "key")
