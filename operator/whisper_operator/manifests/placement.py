"""Where the pods may run: affinity, tolerations, node labels. The user's own settings are always kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whisper_operator.errors import SpecError
from whisper_operator.gpus import TAINT, node_selector_terms, platform_of_image, without_gpu
from whisper_operator.manifests.documents import plain, pod_selector, present
from whisper_operator.manifests.resolved import uses_gpu
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ON_GPU_NODES = (
    {"key": TAINT, "operator": "Exists", "effect": "NoSchedule"},
    {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
)
"""The taints of GPU nodes: NVIDIA's, with any value, and the one that AKS' documentation has its users set."""


def placement(endpoint: Endpoint, settings: Settings) -> dict[str, Any]:
    """Fields of the pod's spec."""
    pod, defaults = endpoint.spec.pod, settings.defaults
    tolerations = [*ON_GPU_NODES] if uses_gpu(endpoint) else []
    selector = {**defaults.node_selector, **pod.node_selector}
    affinity = _affinity(pod.affinity or {}, _terms(endpoint, selector))
    return present(
        nodeSelector=selector,
        affinity=affinity if uses_gpu(endpoint) else _off_gpu_nodes(affinity),
        tolerations=_different([*tolerations, *defaults.tolerations, *pod.tolerations]),
        topologySpreadConstraints=[
            {"labelSelector": pod_selector(endpoint), **plain(constraint)}
            for constraint in pod.topology_spread_constraints
        ],
        schedulerName=pod.scheduler_name,
        priorityClassName=pod.priority_class_name,
        runtimeClassName=pod.runtime_class_name,
    )


def _terms(endpoint: Endpoint, selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """The nodes that can run the image, with the GPUs that the spec asks for.

    A node selector that names the architecture decides it: an image of the author's may be for another one.
    """
    platform = [{"key": key, "operator": "In", "values": [value]} for key, value in platform_of_image(selector).items()]
    by_device = endpoint.spec.gpu.device_class_name is not None
    found = [] if by_device else node_selector_terms(endpoint.spec.gpu, endpoint.spec.engine)
    gpus = found or [{"matchExpressions": []}]
    return [{"matchExpressions": [*platform, *term["matchExpressions"]]} for term in gpus]


def _off_gpu_nodes(affinity: Document) -> dict[str, Any]:
    """Prefers nodes without GPUs, with the least weight: any preference of the author's outweighs it."""
    node: Mapping[str, Any] = affinity.get("nodeAffinity") or {}
    ours = {"weight": 1, "preference": {"matchExpressions": without_gpu()}}
    return {**affinity, "nodeAffinity": {**node, PREFERRED: [*(node.get(PREFERRED) or ()), ours]}}


def _affinity(affinity: Document, ours: Sequence[Document]) -> dict[str, Any]:
    """The user's affinity combined with our node selector terms.

    Terms are alternatives, so both lists hold if every term of ours is combined with every term of theirs.
    """
    node: Mapping[str, Any] = affinity.get("nodeAffinity") or {}
    required = node.get(REQUIRED)
    if required is not None:
        theirs = [term for term in required.get("nodeSelectorTerms", []) if any(term.values())]
        if not theirs:
            raise SpecError(
                f"pod.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms",
                "a term without matchExpressions and matchFields fits no node: write one, or leave the terms out",
            )
        ours = [_both(first, second) for first, second in itertools.product(ours, theirs)]
    return {**plain(affinity), "nodeAffinity": {**plain(node), REQUIRED: {"nodeSelectorTerms": plain(ours)}}}


def _both(first: Document, second: Document) -> dict[str, Any]:
    return present(
        matchExpressions=[*first.get("matchExpressions", ()), *second.get("matchExpressions", ())],
        matchFields=[*first.get("matchFields", ()), *second.get("matchFields", ())],
    )


def _different(documents: Iterable[Document]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for document in documents:
        copy = plain(document)
        if copy not in found:
            found.append(copy)
    return found
