"""The condition Scheduled: whether every pod has a node, and otherwise the scheduler's words with our advice.

For each node the scheduler reports only the first mismatch: with a GPU class, nodes of other kinds fail on their labels (or
taints), and a full one on `Insufficient nvidia.com/gpu`; so does one without GPUs. `gpu_advice` looks at the nodes themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from whisper_operator.resource.fields import Document
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.conditions import Condition, Truth, condition_of, fails
from whisper_operator.status.endpoint_view import EndpointView, node_of, parse_time
from whisper_operator.status.gpu_advice import device_advice, gpu_advice
from whisper_operator.status.gpu_holder import holder_advice, is_full
from whisper_operator.status.gpu_nodes import Said, seen
from whisper_operator.status.issue import Issue, command, joined, quoted
from whisper_operator.status.lacking import NO_LABELS, else_lacking, lacks_resources, ways_out
from whisper_operator.status.node_match import BEING_REMOVED, NOT_READY
from whisper_operator.status.pods import subject

TYPE = "Scheduled"
DECIDES_WITHIN_S = 10.0

_PREEMPTION = re.compile(r",? (?:no new claims to deallocate,? )?preemption:")
_NO_NODES = "no nodes available to schedule pods"
_TAINT = re.compile(r"untolerated taint(?:\(s\))?(?: \{([^}:]*)[^}]*\})?")
_CORDONED = re.compile(r"node\(s\) were unschedulable|untolerated taint \{node\.kubernetes\.io/unschedulable\b")
_CLAIM_GONE = re.compile(r'persistentvolumeclaim "[^"]+" (not found|is being deleted)')
_VOLUME_GONE = re.compile(r"bound to non-existent persistentvolume|bound to non-existent pv")
_CLAIM_UNBOUND = ("unbound immediate PersistentVolumeClaims", "didn't find available persistent volumes to bind")
_USUAL_TAINTS = ("node-role.kubernetes.io/", *NOT_READY, *BEING_REMOVED)
_SEE_LABELS = command("kubectl get nodes --show-labels")
_PLATFORM = (
    "The images are for nodes with kubernetes.io/os linux and kubernetes.io/arch amd64: check these labels, pod.nodeSelector"
    f" and pod.affinity against {_SEE_LABELS}."
)
_WORST_FIRST = (
    reasons.CLAIM_MISSING,
    reasons.CLAIM_LOST,
    reasons.CLAIM_PENDING,
    reasons.UNSCHEDULABLE,
    reasons.NO_MATCHING_NODE,
    reasons.INSUFFICIENT_RESOURCES,
    reasons.INSUFFICIENT_GPU,
)


def scheduled(view: EndpointView) -> Condition:
    """The condition Scheduled: every live pod has a node."""
    found = next(scheduling_issues(view), None)
    if found is not None:
        return fails(TYPE, found)
    placed = [bool(node_of(pod)) for pod in view.pods if node_of(pod) or _is_overdue(pod, view)]
    if placed and all(placed):
        return Condition(type=TYPE, status=Truth.TRUE, reason=reasons.SCHEDULED, message="Every pod has a node.")
    if view.pods:
        reason, message = reasons.SCHEDULING, "The scheduler has not decided yet."
    elif view.suspended:
        reason, message = reasons.SUSPENDED, "There are no pods: spec.suspend is true."
    elif view.n_wanted == 0:
        reason, message = reasons.SCALED_TO_ZERO, "There are no pods: spec.replicas is 0."
    else:
        reason, message = reasons.NO_PODS, "There is no pod yet."
    return Condition(type=TYPE, status=Truth.UNKNOWN, reason=reason, message=message)


def scheduling_issues(view: EndpointView) -> Iterator[Issue]:
    """Issues of pods without a node, worst first."""
    by_reason: dict[str, list[tuple[Document, str]]] = {}
    for pod in view.pods:
        words = _refusal(pod)
        if words:
            by_reason.setdefault(_reason(words, _asked(view, pod)), []).append((pod, words))
    for reason in sorted(by_reason, key=_WORST_FIRST.index):
        group = by_reason[reason]
        (pod, words), asked = group[0], _asked(view, group[0][0])
        holder = holder_advice(view, asked, words) if asked and reason == reasons.INSUFFICIENT_GPU else ""
        message = joined(
            f"{subject([pod for pod, _ in group], view)} has no node." if len(group) == 1 else
            f"{subject([pod for pod, _ in group], view)} have no node.",
            f"The scheduler says: {quoted(words)}",
            holder or _advice(reason, pod, words, view),
        )  # fmt: skip
        yield Issue(reason=reason, message=message, hard=not holder)


def _is_overdue(pod: Document, view: EndpointView) -> bool:
    """Whether the scheduler should have decided by now. A new pod alone does not make the condition Unknown."""
    created = parse_time(get_str(pod, "metadata", "creationTimestamp"))
    return created is None or (view.now - created).total_seconds() >= DECIDES_WITHIN_S


def _refusal(pod: Document) -> str:
    """The scheduler's message without the part about preemption, which changes with every attempt."""
    condition = condition_of(pod, "PodScheduled")
    if node_of(pod) or get_str(condition, "status") != "False":
        return ""
    words = get_str(condition, "message") or get_str(condition, "reason") or "Unschedulable"
    return _PREEMPTION.split(words)[0]


def _asked(view: EndpointView, pod: Document) -> AskedNode | None:
    """None if the spec cannot be parsed."""
    return AskedNode(spec=view.endpoint.spec, pod=pod) if view.endpoint else None


def _reason(words: str, asked: AskedNode | None) -> str:
    """The reason for the scheduler's message: the pod's own volumes before what nodes lack."""
    resource = asked.resource if asked else ""
    no_such_node = NO_LABELS in words or _NO_NODES in words
    signs = (
        (reasons.CLAIM_MISSING, bool(_CLAIM_GONE.search(words))),
        (reasons.CLAIM_LOST, bool(_VOLUME_GONE.search(words))),
        (reasons.CLAIM_PENDING, any(sign in words for sign in _CLAIM_UNBOUND)),
        (reasons.INSUFFICIENT_GPU, asked is not None and is_full(asked, words)),
        (reasons.INSUFFICIENT_GPU, asked is not None and bool(device_advice(asked, words))),
        (reasons.INSUFFICIENT_RESOURCES, lacks_resources(words)),
        (reasons.UNSCHEDULABLE, bool(_foreign_taints(words))),
        (reasons.NO_MATCHING_NODE, no_such_node and not (asked and resource and not asked.own_fields)),
        (reasons.INSUFFICIENT_GPU, bool(resource) and (no_such_node or bool(_CORDONED.search(words)))),
    )
    return next((reason for reason, holds in signs if holds), reasons.UNSCHEDULABLE)


def _foreign_taints(words: str) -> list[str]:
    """Keys of taints (only older schedulers report them), without those of control planes and those that controllers take off themselves."""
    return [key for key in _TAINT.findall(words) if key and not key.startswith(_USUAL_TAINTS)]


def _advice(reason: str, pod: Document, words: str, view: EndpointView) -> str:
    cordoned, taints = _cordon_advice(words), _taint_advice(words)
    asked = _asked(view, pod)
    if asked and reason == reasons.INSUFFICIENT_GPU:
        by_device = device_advice(asked, words)
        return joined(by_device, taints) if by_device else gpu_advice(view, asked, _said(asked, words))
    if asked and asked.resource and reason in {reasons.NO_MATCHING_NODE, reasons.UNSCHEDULABLE}:
        of_nodes = seen(view.snapshot.nodes, asked, _said(asked, words))
        if of_nodes:
            return of_nodes
    if reason == reasons.NO_MATCHING_NODE:
        return joined(_label_advice(asked, words), cordoned, taints)
    if reason == reasons.INSUFFICIENT_RESOURCES:
        return joined(ways_out(else_lacking(words, asked.resource if asked else "")), cordoned, taints)
    if reason in {reasons.CLAIM_MISSING, reasons.CLAIM_PENDING, reasons.CLAIM_LOST}:
        return f"See {command(f'kubectl describe pvc -n {view.namespace}')}."
    return _other_advice(words, cordoned, taints)


def _said(asked: AskedNode, words: str) -> Said:
    return Said(
        is_insufficient=is_full(asked, words),
        is_cordoned=bool(_CORDONED.search(words)),
        else_lacking=else_lacking(words, asked.resource),
        taints=_taint_advice(words),
    )


def _cordon_advice(words: str) -> str:
    return "If a cordoned node is meant for it: `kubectl uncordon NODE`." if _CORDONED.search(words) else ""


def _other_advice(words: str, cordoned: str, taints: str) -> str:
    ways = ways_out(else_lacking(words, ""))
    if ways:
        return joined(ways, cordoned, taints)
    if cordoned or _TAINT.search(words):
        unnamed = "If a tainted node is meant for it, name its taint in pod.tolerations (`kubectl describe node`)."
        return joined(cordoned, taints or ("" if cordoned else unnamed))
    return "Check pod.nodeSelector, pod.affinity, pod.topologySpreadConstraints and pod.tolerations."


def _taint_advice(words: str) -> str:
    """Advice about taints, except those that Kubernetes sets itself."""
    foreign = _foreign_taints(words)
    if foreign:
        return f"If a node with taint {foreign[0]} is meant for it, name that taint in pod.tolerations."
    is_unnamed = "" in _TAINT.findall(words)
    return "If a tainted node is meant for it, name its taint in pod.tolerations." if is_unnamed else ""


def _label_advice(asked: AskedNode | None, words: str) -> str:
    """For a pod that asks for labels, where nodes were not read."""
    fields = asked.own_fields if asked and asked.resource else ""
    if not asked or not fields:
        return _PLATFORM
    # The scheduler checks labels only of nodes without cordon and untolerated taint.
    others = " that takes this pod by taints and cordons" if _CORDONED.search(words) or _TAINT.search(words) else ""
    verb = "ask" if " and " in fields else "asks"
    return f"No node{others} has both a GPU that {asked.gpu} allows and the labels that {fields} {verb} for: check {fields} and gpu.class against {_SEE_LABELS}."
