"""A pod that gets no node, as the operator makes it and the scheduler refuses it, and what the status says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

from cluster_kit.simulated_nodes import BY_NAME, GPU, NodeSpec
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
LACKS = "node(s) didn't match Pod's node affinity/selector"
TAKEN = "is taken"
CPU, T4_0 = BY_NAME["cpu"], BY_NAME["t4-0"]
PLAIN = NodeSpec("plain", 2)
"""A device plugin, and no label that names the GPU."""


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
    """The way out that the condition Scheduled names; `known`: the operator may read nodes."""
    offers = [each if isinstance(each, NodeOffer) else node_offer(each.document()) for each in specs]
    scheduled, way_out = status_of_refused(spec, *offers, known=known, defaults=defaults)
    assert scheduled == f"False {reason}"
    return way_out


def status_of_refused(
    spec: dict[str, Any], *offers: NodeOffer, known: bool = True, defaults: dict[str, Any] | None = None
) -> tuple[str, str]:
    """The condition Scheduled as `False Reason`, and the way out."""
    template = pending(spec, defaults)
    words = said(template, list(offers), spec["gpu"].get("resourceName", GPU))
    pod = live_pods.unscheduled(words) | {"spec": template}
    with_devices = tuple(each for each in offers if each.extended) if known else None
    status = judged(spec, snapshot_of(live.deployment(), pods=[kept_fields(pod)], nodes=with_devices))
    _, _, way_out = message(status, "Scheduled").partition(words[-20:])
    return short(status)["Scheduled"], way_out.strip()


def labelled(spec: NodeSpec, **labels: str) -> NodeSpec:
    return dataclasses.replace(spec, labels={**spec.labels, **labels})
