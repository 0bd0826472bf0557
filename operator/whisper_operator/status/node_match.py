"""Which nodes a pod may go to by labels and taints, by the scheduler's rules. Pure.

The scheduler reports one mismatch per node and never says which node. This tells apart nodes whose GPUs are taken and nodes
that the pod's own terms exclude. Preferences, other pods and resources do not count here.
"""

from __future__ import annotations

from collections.abc import Sequence

from whisper_operator.gpus import holds
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.accessors import get_list, get_map, get_str, get_value

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
NOT_READY = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "status-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "karpenter.sh/unregistered",
    "node.cilium.io/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
)
"""Starts of taints that a controller sets while a node cannot take pods, and takes off itself."""
BEING_REMOVED = (
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/disrupt",
    "node.cloudprovider.kubernetes.io/shutdown",
)
_REPELLING = frozenset({"NoSchedule", "NoExecute"})


def is_selected(pod: Document, node: NodeOffer) -> bool:
    """Whether the node has the labels that the pod's nodeSelector and node affinity ask for."""
    selector = get_map(pod, "spec", "nodeSelector")
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return False
    required = get_value(pod, "spec", "affinity", "nodeAffinity", REQUIRED)
    return required is None or fits_one_of(get_list(required, "nodeSelectorTerms"), node)


def fits_one_of(terms: Sequence[Document], node: NodeOffer) -> bool:
    """Terms are alternatives; one without any expression fits no node."""
    return any(_fits(term, node) for term in terms)


def untolerated_taints(pod: Document, node: NodeOffer) -> list[Document]:
    """The taints that keep the pod away."""
    tolerations = get_list(pod, "spec", "tolerations")
    repelling = (taint for taint in node.taints if get_str(taint, "effect") in _REPELLING)
    return [taint for taint in repelling if not any(_tolerates(one, taint) for one in tolerations)]


def _fits(term: Document, node: NodeOffer) -> bool:
    fields = {"metadata.name": node.name}
    checks = [holds(each, node.labels) for each in get_list(term, "matchExpressions")]
    checks += [holds(each, fields) for each in get_list(term, "matchFields")]
    return bool(checks) and all(checks)


def _tolerates(toleration: Document, taint: Document) -> bool:
    key, effect = get_str(toleration, "key"), get_str(toleration, "effect")
    if effect not in ("", get_str(taint, "effect")):
        return False
    if get_str(toleration, "operator") == "Exists":
        return key in ("", get_str(taint, "key"))
    return key == get_str(taint, "key") and get_str(toleration, "value") == get_str(taint, "value")
