"""What to do about a pod that gets no GPU, from the scheduler's words and from what the nodes offer. Pure.

That GPUs are taken is said only where nodes show it: the pod may go to one by labels and taints, it has the resource, and the
scheduler finds too little of it. Without the right to read nodes (`rbac.readNodes`) nothing is said about why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from whisper_operator.gpus import (
    label_command,
    needed_capability,
    node_selector_terms,
    platform_of_image,
    shows_its_gpu,
)
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Spec
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.accessors import get_str
from whisper_operator.status.endpoint_view import EndpointView, pod_name
from whisper_operator.status.issue import command, joined
from whisper_operator.status.node_match import fits_one_of, is_selected, untolerated_taint
from whisper_runtime.capability import VLLM

_NO_DEVICE = "cannot allocate all claims"
ADD_ONE = "add one, and the pod goes there by itself"


def gpu_resource(view: EndpointView) -> str:
    """The resource of which each pod requests one; empty: none."""
    gpu = view.endpoint.spec.gpu if view.endpoint else None
    by_resource = gpu is not None and gpu.class_ is not GpuClass.NONE and not gpu.device_class_name
    return gpu.resource_name if gpu and by_resource else ""


def device_advice(view: EndpointView, words: str) -> str:
    """The way out for a pod whose claim of a device cannot be allocated; empty: it claims none, or something else is wrong."""
    gpu = view.endpoint.spec.gpu if view.endpoint else None
    if view.endpoint is None or gpu is None or not gpu.device_class_name:
        return ""
    name = gpu.device_class_name
    if f"device class {name} does not exist" in words:
        return f"There is no DeviceClass {name} (gpu.deviceClassName): {command('kubectl get deviceclasses')} lists those that there are."
    if _NO_DEVICE not in words:
        return ""
    see = command("kubectl get resourceslices -o yaml")
    return (
        f"No node has a free device of DeviceClass {name} that {allowed(view.endpoint.spec)} allows: free one, {ADD_ONE},"
        f" or change gpu.class. {see} lists the devices."
    )


def own_terms(view: EndpointView) -> str:
    """Fields of the spec that restrict the nodes in addition to `gpu`; empty: none."""
    pod = view.endpoint.spec.pod if view.endpoint else None
    asked = {
        "pod.nodeSelector": bool(pod and pod.node_selector),
        "pod.affinity": bool(pod and pod.affinity and pod.affinity.get("nodeAffinity")),
    }
    return " and ".join(field for field, is_given in asked.items() if is_given)


def allowed(spec: Spec) -> str:
    """What restricts the GPU, in the spec's words."""
    gpu = spec.gpu
    lowest = needed_capability(spec.engine).lowest
    asks = [
        f"gpu.minMemoryGiB {gpu.min_memory_gib}" if gpu.min_memory_gib else "",
        f"compute capability {lowest[0]}.{lowest[1]} for its engine settings" if lowest > VLLM else "",
    ]
    more = " and ".join(each for each in asks if each)
    return f"gpu.class {gpu.class_}" + (f" with {more}" if more else "")


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


def gpu_advice(view: EndpointView, pod: Document, said: Said) -> str:
    """The way out for a pod that the scheduler gave no node."""
    assert view.endpoint is not None
    if view.terminating_pods:
        terminating = pod_name(view.terminating_pods[0])
        return f"Pod {terminating}, which is ending, still has its GPU: it is free once running requests are done (rollout.shutdownSeconds)."
    resource, allow, terms = gpu_resource(view), allowed(view.endpoint.spec), own_terms(view)
    allow = f"{allow}, with {terms}, allows" if terms else f"{allow} allows"
    seen = _seen(view, pod, resource, allow, said)
    if seen:
        return seen if "pod.tolerations" in seen else joined(seen, said.taints)
    return joined(_unseen(resource, allow, said), said.taints)


def _unseen(resource: str, allow: str, said: Said) -> str:
    """The advice that holds with any nodes."""
    if said.is_cordoned and not said.is_insufficient:
        return (
            f"No node that takes pods has a GPU that {allow}, and some are cordoned (`kubectl get nodes`):"
            f" `kubectl uncordon NODE` for one with such a GPU, or {ADD_ONE}."
        )
    if not said.is_insufficient:
        return f"No node shows a GPU that {allow}: {ADD_ONE}, or change gpu.class."
    if said.else_lacking:
        return (
            f"No node has a free {resource} that {allow} and all else that the pod needs ({said.else_lacking}):"
            " lower pod.resources.requests, free something, or add a node."
        )
    or_uncordon = "uncordon a node (`kubectl uncordon NODE`), " if said.is_cordoned else ""
    return f"No node has a free {resource} that {allow}: {or_uncordon}free one if there are some, or {ADD_ONE}."


def _seen(view: EndpointView, pod: Document, resource: str, allow: str, said: Said) -> str:
    """What the nodes show; empty if they show nothing, or were not read."""
    nodes = view.snapshot.nodes
    if nodes is None or view.endpoint is None:
        return ""
    offering = [node for node in nodes if node.extended.get(resource)]
    selected = [node for node in offering if is_selected(pod, node)]
    if not offering:
        return _no_resource(resource, nodes)
    if not selected:
        return _none_selected(view.endpoint.spec, offering, resource, allow)
    usable = [node for node in selected if untolerated_taint(pod, node) is None and not node.is_cordoned]
    if usable and said.is_insufficient and not said.else_lacking:
        return _taken(usable, resource, allow, is_cordoned=said.is_cordoned)
    return "" if usable or said.is_cordoned else _tainted(selected, pod, resource)


def _taken(usable: Sequence[NodeOffer], resource: str, allow: str, *, is_cordoned: bool) -> str:
    n_gpus = sum(node.extended[resource] for node in usable)
    where = f"{n_gpus} on {len(usable)} node{'s' if len(usable) > 1 else ''}"
    ways = "free one, uncordon a node (`kubectl uncordon NODE`), or" if is_cordoned else "free one or"
    return f"Every {resource} that {allow} is taken ({where}): {ways} add a node, and the pod goes there by itself."


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


def _none_selected(spec: Spec, offering: Sequence[NodeOffer], resource: str, allow: str) -> str:
    """Nodes have the resource, but their labels exclude them."""
    wanted = platform_of_image(spec.pod.node_selector)
    of_platform = [
        node for node in offering if all(node.labels.get(key, value) == value for key, value in wanted.items())
    ]
    if not of_platform:
        return _other_platform(offering[0], resource, wanted)
    offering, example = of_platform, of_platform[0].name
    shared = dataclasses.replace(spec.gpu, shared=True)
    terms = node_selector_terms(shared, spec.engine)
    are_shared = [node for node in offering if not terms or fits_one_of(terms, node)]
    unnamed = [node for node in offering if not shows_its_gpu(node.labels)]
    if are_shared and not spec.gpu.shared:
        return (
            f"No node has a whole GPU that {allow}, but those of node {are_shared[0].name} are shared or slices (MIG):"
            " write gpu.shared: true and engine.gpuMemoryUtilization, or add a node."
        )
    if unnamed:
        return (
            f"No label says which GPU node {unnamed[0].name} has. If {allow.removesuffix(' allows')} is meant to take it, install GPU"
            f" feature discovery, or label it: {command(label_command(unnamed[0].name, spec.gpu, spec.engine))}, with what"
            " `nvidia-smi --query-gpu=compute_cap,memory.total --format=csv` says there."
        )
    return (
        f"{len(offering)} node{'s' if len(offering) > 1 else ''} ({example}{_described(offering[0])}) with {resource}, but none that"
        f" {allow}: {ADD_ONE}, or change gpu.class{' or gpu.minMemoryGiB' if spec.gpu.min_memory_gib else ''}."
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


def _tainted(selected: Sequence[NodeOffer], pod: Document, resource: str) -> str:
    for node in selected:
        taint = untolerated_taint(pod, node)
        key = get_str(taint or {}, "key")
        if key:
            value = get_str(taint or {}, "value")
            named = f"{key}={value}" if value else key
            return f"Node {node.name} has {resource}, and its taint {named} keeps pods away: name it in pod.tolerations, or add a node."
    return ""
