"""Pods whose node is still preparing them: their status says nothing, so Events may. Pure."""

from __future__ import annotations

import re

from whisper_operator.resource.fields import Document
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.endpoint_view import EndpointView, node_of, parse_time, pod_name
from whisper_operator.status.issue import command, quoted
from whisper_operator.status.pod_issue import PodIssue

FRESH_S = 300
"""The kubelet repeats a failed mount every two minutes at the latest: what is older has passed."""

_TELLING = ("FailedAttachVolume", "FailedMapVolume", "FailedMount", "FailedCreatePodSandBox")
_VAGUE = "timed out waiting for the condition"
_SECRET = re.compile(r'secret "[^"]+" not found|non-existent secret key')


def preparing(pod: Document, view: EndpointView) -> PodIssue:
    """What keeps a node from starting a pod's containers."""
    describe = command(f"kubectl describe pod -n {view.namespace} {pod_name(pod)}")
    words = _telling_words(pod, view)
    if words:
        return PodIssue(
            reason=reasons.SECRET_MISSING if _SECRET.search(words) else reasons.FAILED_MOUNT,
            text=f"its node cannot prepare it. The node says: {quoted(words)}",
            advice=f"See {describe}.",
        )
    node = node_of(pod)
    return PodIssue(
        reason=reasons.CONTAINER_CREATING,
        text=f"node {node} is preparing it: volumes are mounted and the image is pulled.",
        advice=f"If it takes long, see {describe}.",
        hard=False,
    )


def _telling_words(pod: Document, view: EndpointView) -> str:
    if get_str(condition_of(pod, "PodReadyToStartContainers"), "status") == "True":
        return ""  # volumes are mounted: what events say of them has passed
    events = [event for event in view.snapshot.pod_events.get(pod_name(pod), ()) if _tells(event, view)]
    # Kinds in a fixed order rather than the newest: two of them take turns, and the message would with them.
    events.sort(key=lambda event: (_VAGUE in get_str(event, "message"), _TELLING.index(get_str(event, "reason"))))
    return get_str(events[0], "message") if events else ""


def _tells(event: Document, view: EndpointView) -> bool:
    if get_str(event, "reason") not in _TELLING:
        return False
    last = (
        get_str(event, "series", "lastObservedTime") or get_str(event, "lastTimestamp") or get_str(event, "eventTime")
    )
    seen_at = parse_time(last)
    return seen_at is None or (view.now - seen_at).total_seconds() < FRESH_S
