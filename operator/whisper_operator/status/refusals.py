"""Objects that the API server did not take: the operator's own writes, and the pods of the Deployment's controller. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from whisper_operator.observed import Refusal
from whisper_operator.status import reasons
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.finding import Finding, command, joined, quoted
from whisper_operator.status.reading import text
from whisper_operator.status.seen import Seen

ROUTE_KINDS = frozenset({"Ingress", "HTTPRoute"})
AUTOSCALER_KIND = "HorizontalPodAutoscaler"
SPEC_REASONS = frozenset({reasons.NAME_TAKEN, reasons.CHILD_INVALID})
"""These speak of the endpoint itself and make it invalid; the others, of its surroundings."""

_WHOSE = re.compile(r'^[\w.]+ "[^"]*" is (?:forbidden|invalid): ')
"""Repeats the object's name: for a pod a new one with every try."""
_HINTS = (
    ("violates PodSecurity", "Relax the namespace's pod-security.kubernetes.io/enforce label, or what pod.* asks for."),
    ("service account", "Check pod.serviceAccountName."),
    ("PriorityClass", "Check pod.priorityClassName against `kubectl get priorityclass`."),
    ("RuntimeClass", "Check pod.runtimeClassName against `kubectl get runtimeclass`."),
    ("because it is being terminated", ""),
    ("per Container", "Change pod.resources, or the namespace's LimitRange (`kubectl describe limitrange`)."),
    ("per Pod", "Change pod.resources, or the namespace's LimitRange (`kubectl describe limitrange`)."),
    ("cannot patch resource", "The operator lacks this right: see its ClusterRole (or Role)."),
    ("cannot create resource", "The operator lacks this right: see its ClusterRole (or Role)."),
    (
        "only dynamically provisioned pvc can be resized",
        "Its storage class cannot grow volumes: write cache {emptyDir: {}} (the volume is deleted), then persistentVolumeClaim anew.",
    ),
)


def refusal_finding(refusal: Refusal, seen: Seen) -> Finding:
    """What one refused object means."""
    what = f"{refusal.key.kind} {refusal.key.name}"
    if refusal.reason == reasons.NAME_TAKEN:
        get = command(f"kubectl get {refusal.key.kind.lower()} -n {seen.namespace} {refusal.key.name} -o yaml")
        return Finding(
            reason=reasons.NAME_TAKEN,
            message=joined(
                f"{what} is there already and does not belong to this endpoint: it is left untouched.",
                f"Give the endpoint another name, or remove that object. See {get}.",
            ),
        )
    if refusal.code in {400, 422}:
        message = joined(f"The API server refused {what}: {quoted(refusal.message)}", "Change the spec accordingly.")
        return Finding(reason=reasons.CHILD_INVALID, message=message)
    if refusal.code == 403:
        return _forbidden(what, refusal.message, seen)
    message = joined(f"{what} could not be written: {quoted(refusal.message or refusal.reason)}", "It is tried again.")
    return Finding(reason=reasons.APPLY_FAILED, message=message, hard=400 <= refusal.code < 500 and refusal.code != 429)


def workload_refusals(seen: Seen) -> Iterator[Finding]:
    """All but those that have a condition of their own, or make the endpoint invalid."""
    for refusal in seen.observed.refusals:
        found = refusal_finding(refusal, seen)
        if refusal.key.kind not in ROUTE_KINDS | {AUTOSCALER_KIND} and found.reason not in SPEC_REASONS:
            yield found


def refused(kinds: frozenset[str], seen: Seen) -> Finding | None:
    """What happened to an object of these kinds, if it was refused."""
    found = (refusal for refusal in seen.observed.refusals if refusal.key.kind in kinds)
    return next((refusal_finding(refusal, seen) for refusal in found), None)


def invalid_child(seen: Seen) -> Finding | None:
    """The first refusal that speaks of the endpoint itself."""
    findings = (refusal_finding(refusal, seen) for refusal in seen.observed.refusals)
    return next((found for found in findings if found.reason in SPEC_REASONS), None)


def pod_refusals(seen: Seen) -> Iterator[Finding]:
    """Pods that the Deployment's controller could not create: its condition ReplicaFailure."""
    condition = condition_of(seen.deployment, "ReplicaFailure")
    if not seen.deployment_is_current or text(condition, "status") != "True":
        return
    words = text(condition, "message")
    if "is forbidden" in words:
        yield _forbidden("a pod", words, seen)
    else:
        see = command(f"kubectl describe rs -n {seen.namespace}")
        message = joined(f"A pod could not be created: {quoted(_WHOSE.sub('', words))}", f"See {see}.")
        yield Finding(reason=reasons.FAILED_CREATE, message=message)


def _forbidden(what: str, words: str, seen: Seen) -> Finding:
    said = quoted(_WHOSE.sub("", words))
    if "exceeded quota" in words:
        see = f"Raise the quota or free something: {command(f'kubectl describe quota -n {seen.namespace}')}."
        return Finding(reason=reasons.QUOTA_EXCEEDED, message=joined(f"There is no room for {what}: {said}", see))
    hint = next((text for sign, text in _HINTS if sign in words), "")
    message = joined(f"The API server forbids {what}: {said}", hint)
    return Finding(reason=reasons.FORBIDDEN, message=message)
