"""Whether an ending pod holds a GPU, or a device, that another pod waits for. Pure."""

from __future__ import annotations

import re

from whisper_operator.resource.fields import Document
from whisper_operator.status.accessors import get_list, get_map, get_value
from whisper_operator.status.asked_node import AskedNode, n_requested
from whisper_operator.status.endpoint_view import EndpointView, node_of, pod_name
from whisper_operator.status.node_match import REQUIRED, is_selected, untolerated_taints

_NO_DEVICE = "cannot allocate all claims"


def is_full(asked: AskedNode, words: str) -> bool:
    """Whether the scheduler names too few GPUs, or devices, as a reason."""
    if not asked.resource:
        return bool(asked.spec.gpu.device_class_name) and _NO_DEVICE in words
    return bool(re.search(rf"Insufficient {re.escape(asked.resource)}(?![\w.-]*\w)", words))


def holder_advice(view: EndpointView, asked: AskedNode, words: str) -> str:
    """For a pod that waits for an ending one; empty: it does not."""
    holder = _holder(view, asked) if is_full(asked, words) else None
    if holder is None:
        return ""
    return f"Pod {pod_name(holder)}, which is ending, still has its GPU: it is free once running requests are done (rollout.shutdownSeconds)."


def _holder(view: EndpointView, asked: AskedNode) -> Document | None:
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
