"""The way out where no node has the resource that the spec names: another one of NVIDIA's device plugin, if the pod may take it. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Gpu
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.issue import command

_GPUS = re.compile(r"nvidia\.com/(gpu|mig-[a-z0-9.]+?)(\.shared)?")
"""As the device plugin names them; nvidia.com/hostdev and the like are network cards."""
_NEVER_SLICED = frozenset({GpuClass.T4, GpuClass.ADA})
"""As the rule of gpu.resourceName has it."""


def no_resource(asked: AskedNode, nodes: Sequence[NodeOffer]) -> str:
    """No node has the resource."""
    offered = _offered(nodes)
    if not offered:
        path = asked.resource.replace(".", r"\.")
        see = command(f"kubectl get nodes -o custom-columns=NAME:.metadata.name,HAS:.status.allocatable.{path}")
        return (
            f"No node has {asked.resource} ({see}): add a node with a GPU, or install NVIDIA's device plugin where there is one,"
            " and the pod goes there by itself."
        )
    instead = other_resource(asked, nodes)
    if instead:
        return f"No node has {asked.resource}, but {instead}"
    return (
        f"No node has {asked.resource}. Nodes have {_counts(offered)}, but none with labels that show a GPU that"
        f" {asked.allow}: add a node with one."
    )


def other_resource(asked: AskedNode, nodes: Sequence[NodeOffer]) -> str:
    """The resource to write instead; empty: there is none that the pod may take."""
    by_name = {name: _usable(name, found, asked) for name, found in _offered(nodes).items() if name != asked.resource}
    usable = {name: found for name, found in by_name.items() if found}
    if not usable:
        return ""
    first = min(usable, key=_rank)
    gets_shared = _by(first, asked.spec.gpu).shared and not asked.spec.gpu.shared
    shared = " and gpu.shared: true (with engine.gpuMemoryUtilization)" if gets_shared else ""
    return f"nodes have {_counts(usable)}: write gpu.resourceName: {first}{shared}, or add a node."


def _offered(nodes: Sequence[NodeOffer]) -> dict[str, list[NodeOffer]]:
    """Resources that are GPUs, with the nodes that have some."""
    names = {name for node in nodes for name in node.extended if _GPUS.fullmatch(name)}
    by_name = {name: [node for node in nodes if node.extended.get(name)] for name in names}
    return {name: found for name, found in by_name.items() if found}


def _usable(name: str, offering: Sequence[NodeOffer], asked: AskedNode) -> list[NodeOffer]:
    """Nodes that the pod may go to once the spec names the resource."""
    gpu = _by(name, asked.spec.gpu)
    if "/mig-" in name and gpu.class_ in _NEVER_SLICED:
        return []
    return [node for node in asked.nodes_for(gpu, offering) if asked.runs_images(node) and asked.has_own_labels(node)]


def _by(name: str, gpu: Gpu) -> Gpu:
    return dataclasses.replace(gpu, resource_name=name, shared=gpu.shared or name.endswith(".shared"))


def _rank(name: str) -> tuple[bool, bool, str]:
    """Whole GPUs first."""
    return name.endswith(".shared"), "/mig-" in name, name


def _counts(offered: Mapping[str, Sequence[NodeOffer]]) -> str:
    return " and ".join(
        f"{sum(node.extended[name] for node in offered[name])} {name}" for name in sorted(offered, key=_rank)[:3]
    )
