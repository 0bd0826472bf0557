"""Combines the issues of all pods: worst first, one message per reason, with a count and the name of one pod."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from whisper_operator.resource.fields import Document
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_list, get_str
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.containers import pod_issue_of
from whisper_operator.status.endpoint_view import EndpointView, is_ready, parse_time, pod_name
from whisper_operator.status.issue import Issue, joined, quoted
from whisper_operator.status.pod_issue import PodIssue

REPLACED_WITHIN = timedelta(minutes=2)
"""A pod that is created this soon after another one failed counts as its replacement."""
CLOCKS_DIFFER = timedelta(seconds=5)


def pod_issues(view: EndpointView) -> Iterator[Issue]:
    """Issues of the pods, worst first. During a rollout only the new pods are judged."""
    found_issues = [(pod, found) for pod in view.new_pods if (found := pod_issue_of(pod, view)) is not None]
    found_issues += [(pod, _of_failed(pod)) for pod in view.failed_pods if _is_missed(pod, view)]
    by_reason: dict[str, list[tuple[Document, PodIssue]]] = {}
    for pod, pod_issue in sorted(found_issues, key=lambda each: (each[1].rank, each[1].reason)):
        by_reason.setdefault(pod_issue.reason, []).append((pod, pod_issue))
    for reason, group in by_reason.items():
        pod_issue = group[0][1]
        who = subject([pod for pod, _ in group], view)
        yield Issue(reason=reason, message=joined(f"{who}: {pod_issue.text}", pod_issue.advice), hard=pod_issue.hard)


def subject(pods: list[Document], view: EndpointView) -> str:
    """The subject of a message: the name of the oldest pod, and how many there are."""
    name, total = pod_name(pods[0]), max(len(view.pods), len(pods))
    return f"Pod {name}" if total == 1 else f"{len(pods)} of {total} pods ({name})"


def _of_failed(pod: Document) -> PodIssue:
    """A pod that its node evicted, rejected or ended."""
    reason, message = get_str(pod, "status", "reason"), get_str(pod, "status", "message")
    if reason == reasons.EVICTED:
        advice = "If it goes on: pod.resources.requests and limits, and cache.emptyDir.sizeLimit, must leave room for the model."
        return PodIssue(
            reason=reasons.EVICTED, text=f"evicted by its node: {quoted(message)}", advice=advice, hard=False
        )
    return PodIssue(
        reason=reasons.POD_FAILED,
        text=f"its node ended it or did not take it: {quoted(': '.join(filter(None, (reason, message))))}",
        advice="",
        hard=False,
    )


def _is_missed(pod: Document, view: EndpointView) -> bool:
    """Whether the replacement of a failed pod is not ready; otherwise the failure no longer matters."""
    failed_at = parse_time(_failed_at(pod))
    if failed_at is None:
        return False
    made_at = [
        parse_time(get_str(other, "metadata", "creationTimestamp")) for other in view.pods if not is_ready(other)
    ]
    # The clocks of nodes and control plane differ a little.
    return any(made and -CLOCKS_DIFFER <= made - failed_at <= REPLACED_WITHIN for made in made_at)


def _failed_at(pod: Document) -> str:
    disruption = get_str(condition_of(pod, "DisruptionTarget"), "lastTransitionTime")
    ends: Iterable[str] = (
        get_str(entry, "state", "terminated", "finishedAt") for entry in get_list(pod, "status", "containerStatuses")
    )
    return disruption or max(ends, default="") or get_str(pod, "status", "startTime")
