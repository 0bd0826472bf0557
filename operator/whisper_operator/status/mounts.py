"""Pods whose node is still preparing them: their status gives no reason, but Events may. Pure."""

from __future__ import annotations

import re

from whisper_operator.resource.fields import Document
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.endpoint_view import EndpointView, node_of, parse_time, pod_name
from whisper_operator.status.issue import command, joined, quoted
from whisper_operator.status.pod_issue import PodIssue

FRESH_S = 300
"""Newest age of an Event that counts: the kubelet repeats a failed mount at least every two minutes."""

_RELEVANT = ("FailedAttachVolume", "FailedMapVolume", "FailedMount", "FailedCreatePodSandBox")
_MULTI_ATTACH = "Multi-Attach error"
_FOR_ONE_NODE = "A ReadWriteOnce volume is for one node at a time: write replicas 1, or take a claim with accessModes [ReadWriteMany]."
_VAGUE = "timed out waiting for the condition"
_SECRET = re.compile(r'secret "[^"]+" not found|non-existent secret key')


def preparing(pod: Document, view: EndpointView) -> PodIssue:
    """Why a node has not started a pod's containers."""
    describe = command(f"kubectl describe pod -n {view.namespace} {pod_name(pod)}")
    words = _event_message(pod, view)
    if words:
        return PodIssue(
            reason=reasons.SECRET_MISSING if _SECRET.search(words) else reasons.FAILED_MOUNT,
            text=f"its node cannot prepare it. The node says: {quoted(words)}",
            advice=joined(_FOR_ONE_NODE if _MULTI_ATTACH in words else "", f"See {describe}."),
        )
    node = node_of(pod)
    return PodIssue(
        reason=reasons.CONTAINER_CREATING,
        text=f"node {node} is preparing it: volumes are mounted and the image is pulled.",
        advice=f"If it takes long, see {describe}.",
        hard=False,
    )


def _event_message(pod: Document, view: EndpointView) -> str:
    if get_str(condition_of(pod, "PodReadyToStartContainers"), "status") == "True":
        return ""  # volumes are mounted, so events about them are out of date
    events = [event for event in view.snapshot.pod_events.get(pod_name(pod), ()) if _is_relevant(event, view)]
    # A fixed order of reasons instead of the newest event: two of them alternate, and the message would too.
    events.sort(key=lambda event: (_VAGUE in get_str(event, "message"), _RELEVANT.index(get_str(event, "reason"))))
    return get_str(events[0], "message") if events else ""


def _is_relevant(event: Document, view: EndpointView) -> bool:
    if get_str(event, "reason") not in _RELEVANT:
        return False
    last = (
        get_str(event, "series", "lastObservedTime") or get_str(event, "lastTimestamp") or get_str(event, "eventTime")
    )
    last_at = parse_time(last)
    return last_at is None or (view.now - last_at).total_seconds() < FRESH_S
