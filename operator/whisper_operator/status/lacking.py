"""What nodes lack besides GPUs, labels and places without taint, in the scheduler's words, and the way out of each. Pure.

The words are those of the scheduler's plugins NodeResourcesFit, VolumeBinding, VolumeZone, VolumeRestrictions, NodeVolumeLimits,
InterPodAffinity and PodTopologySpread.
"""

from __future__ import annotations

import re

from whisper_operator.status.issue import joined

NO_LABELS = "didn't match Pod's node affinity/selector"
_COUNT = re.compile(r"^\d+ ")
_ABOUT_PLACES = re.compile(rf"{re.escape(NO_LABELS)}|untolerated taint|were unschedulable")
_RESOURCES = re.compile(r"Insufficient (cpu|memory|ephemeral-storage)|Too many pods")
_WAYS = (
    (r"Insufficient ", "Lower pod.resources.requests, or add a node."),
    (r"Too many pods", "A node has as many pods as it takes: add a node."),
    (
        r"volume node affinity conflict|no available volume zone",
        (
            "The cache's volume is on another node or in another zone: free there what the pod needs;"
            " several pods need accessModes [ReadWriteMany], or replicas 1."
        ),
    ),
    (
        r"ReadWriteOncePod access mode already in-use|had no available disk",
        "Another pod has the cache's volume: several pods need accessModes [ReadWriteMany], or replicas 1.",
    ),
    (r"exceed max volume count", "A node has as many volumes as it takes: add a node."),
    (r"affinity rules", "Other pods keep it away: check pod.affinity, and the podAntiAffinity of the pods there."),
    (r"pod topology spread constraints", "Check pod.topologySpreadConstraints, or add a node."),
)


def else_lacking(words: str, resource: str) -> tuple[str, ...]:
    """What else than `resource`, labels, taints and cordoned nodes the scheduler names, such as `Insufficient memory`."""
    _, _, by_node = words.rstrip(". ").partition("nodes are available: ")
    found = (_COUNT.sub("", each) for each in by_node.split(", "))
    return tuple(
        each for each in found if each and each != f"Insufficient {resource}" and not _ABOUT_PLACES.search(each)
    )


def lacks_resources(words: str) -> bool:
    """Whether CPU, memory, disk or room for a pod is named."""
    return bool(_RESOURCES.search(words))


def ways_out(lacking: tuple[str, ...]) -> str:
    """A sentence for each kind of what is lacking; empty: only kinds without a known way out."""
    found = [way for pattern, way in _WAYS if any(re.search(pattern, each) for each in lacking)]
    return joined(*found)
