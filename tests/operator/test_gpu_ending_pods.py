"""A pod waits for an ending one only if that one has a GPU, or a device, for it."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_kit.simulated_nodes import BY_NAME, GPU, NodeSpec
from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, short, snapshot_of
from operator_kit.refused_pods import AUTO, CPU, PLAIN, T4, T4_0, labelled, pending, said
from whisper_operator.reconcile.cached_reader import node_offer
from whisper_operator.reconcile.kept_fields import kept_fields

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
