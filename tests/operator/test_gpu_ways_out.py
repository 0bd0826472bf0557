"""Specs × nodes: what the status advises for a pod without a GPU, once done, makes a node take it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

import pytest

from cluster_kit.simulated_nodes import CATALOGUE, GPU, NodeSpec, discovered
from operator_kit.endpoints import merged
from operator_kit.refused_pods import TAKEN, pending, status_of_refused
from whisper_operator.errors import SpecError
from whisper_operator.reconcile.cached_reader import node_offer
from whisper_operator.status.node_match import is_selected

SLICE = "nvidia.com/mig-1g.10gb"
A100 = discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40960)
NODES = (
    *CATALOGUE,
    *(dataclasses.replace(each, name=f"{each.name}-a", labels={**each.labels, "zone": "a"}) for each in CATALOGUE[:6]),
    NodeSpec("plain", 2),
    NodeSpec("unknown", 1, {"nvidia.com/gpu.product": "NVIDIA-FOO"}),
    NodeSpec("two-sizes", 1, {"k8s.amazonaws.com/accelerator": "nvidia-tesla-a100"}),
    NodeSpec("no-memory", 1, {"nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "6"}),
    NodeSpec("no-minor", 1, {"nvidia.com/gpu.compute.major": "8"}),
    NodeSpec("v100", 1, {"cloud.google.com/gke-accelerator": "nvidia-tesla-v100"}),
    NodeSpec("slices", 0, {**A100, f"{SLICE}.memory": "9728"}, resources={SLICE: "7"}),
    NodeSpec("slices-plain", 0, resources={SLICE: "7"}),
    NodeSpec("shared-plain", 0, resources={"nvidia.com/gpu.shared": "4"}),
    NodeSpec("card", 0, resources={"nvidia.com/hostdev": "8"}),
    NodeSpec("arm64", 1, {"kubernetes.io/arch": "arm64"}),
)
MEANT = {"gpuMemoryUtilization": 0.4}
"""What gpu.shared needs besides."""


def followed(way_out: str, spec: dict[str, Any], node: NodeSpec) -> tuple[dict[str, Any], NodeSpec] | None:
    """The spec and the node once the advice is followed; None: it says only what to add or to change."""
    if found := re.search(r"`kubectl label node \S+ ([^`]+)`", way_out):
        added = dict(each.split("=") for each in found[1].split())
        assert not set(added) & set(node.labels), "it would take --overwrite"
        return spec, dataclasses.replace(node, labels={**node.labels, **added})
    if found := re.search(r"write gpu\.resourceName: ([^ ,]+)( and gpu\.shared)?", way_out):
        name, is_shared = found.groups()
        assert not ("/mig-" in name and spec["gpu"]["class"] in ("t4", "ada")), "the API server refuses it"
        shared = {"gpu": {"shared": True}, "engine": MEANT} if is_shared else {}
        return merged(merged(spec, {"gpu": {"resourceName": name}}), shared), node
    return (merged(spec, {"gpu": {"shared": True}, "engine": MEANT}), node) if "write gpu.shared" in way_out else None


@pytest.mark.parametrize("gpu_class", ["auto", "t4", "ampere", "ada", "hopper", "blackwell"])
def test_way_out_leads_to_a_node(gpu_class: str) -> None:
    sizes: tuple[dict[str, Any], ...] = ({}, {"minMemoryGiB": 24}, {"minMemoryGiB": 80})
    places: tuple[dict[str, Any], ...] = ({}, {"nodeSelector": {"zone": "a"}})
    plain: dict[str, Any] = {}
    for more, pod, engine in (*itertools.product(sizes, places, (plain,)), (plain, plain, {"dtype": "bfloat16"})):
        first: dict[str, Any] = {"gpu": {"class": gpu_class, **more}, "engine": engine, "pod": pod}
        try:
            pending(first)
        except SpecError:
            continue  # no GPU can match
        for node in NODES:
            assert_ways_out(first, node)


def assert_ways_out(spec: dict[str, Any], node: NodeSpec) -> None:
    for n_done in range(4):
        offer, resource = node_offer(node.document()), spec["gpu"].get("resourceName", GPU)
        way_out = status_of_refused(spec, offer)[1]
        fits = bool(offer.extended.get(resource)) and is_selected({"spec": pending(spec)}, offer)
        assert (TAKEN in way_out) == fits, (spec, node, way_out)
        after = None if TAKEN in way_out else followed(way_out, spec, node)
        if after is None:
            assert n_done == 0 or TAKEN in way_out, (spec, node, way_out)
            return
        spec, node = after
    raise AssertionError(f"it goes round in circles: {spec}, {node}")
