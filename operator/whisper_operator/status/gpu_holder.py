"""How many GPUs a pod requests, and whether an ending pod holds one that another pod waits for. Pure."""

from __future__ import annotations

from whisper_operator.resource.fields import Document
from whisper_operator.status.accessors import get_list, get_map, get_value
from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.endpoint_view import EndpointView, node_of
from whisper_operator.status.node_match import REQUIRED, is_selected, untolerated_taints


def n_requested(pod: Document, resource: str) -> int:
    """As the scheduler counts: all containers that run together, or an init container and the sidecars before it."""
    n_sidecars, n_first = 0, 0
    for container in get_list(pod, "spec", "initContainers"):
        n_gpus = _of_container(container, resource)
        if container.get("restartPolicy") == "Always":
            n_sidecars += n_gpus
        else:
            n_first = max(n_first, n_sidecars + n_gpus)
    containers = get_list(pod, "spec", "containers")
    return max(n_first, n_sidecars + sum(_of_container(each, resource) for each in containers))


def gpu_holder(view: EndpointView, asked: AskedNode) -> Document | None:
    """An ending pod whose GPU the waiting pod can get; None: there is none, or nothing shows it."""
    return next((ending for ending in view.terminating_pods if _frees_one(ending, asked, view)), None)


def _frees_one(ending: Document, asked: AskedNode, view: EndpointView) -> bool:
    claims = get_list(asked.pod, "spec", "resourceClaims")
    if asked.spec.gpu.device_class_name:  # the name of its template stands for what a claim asks for
        return bool(claims) and claims == get_list(ending, "spec", "resourceClaims")
    if not asked.resource or not n_requested(ending, asked.resource):
        return False
    if view.snapshot.nodes is None:  # its node has the labels that it asked for itself
        return _places(ending) == _places(asked.pod)
    nodes = (node for node in view.snapshot.nodes if node.name == node_of(ending) and not node.is_cordoned)
    return any(is_selected(asked.pod, node) and not untolerated_taints(asked.pod, node) for node in nodes)


def _places(pod: Document) -> tuple[object, ...]:
    """What decides about a pod's nodes, besides what they have left."""
    required = get_value(pod, "spec", "affinity", "nodeAffinity", REQUIRED)
    return get_map(pod, "spec", "nodeSelector"), required


def _of_container(container: Document, resource: str) -> int:
    """Limits and requests of an extended resource are equal, where both are written."""
    for kind in ("limits", "requests"):
        amount = str(get_value(container, "resources", kind, resource) or "")
        if amount.isdigit():
            return int(amount)
    return 0
