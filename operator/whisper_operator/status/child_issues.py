"""Children that the API server refused, and children that do not exist yet. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from whisper_operator import names
from whisper_operator.kinds import SCALED_OBJECT
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey, Refusal
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str, get_value
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.endpoint_view import EndpointView, is_terminating
from whisper_operator.status.issue import Issue, command, joined, quoted

ROUTE_KINDS = frozenset({"Ingress", "HTTPRoute"})
KINDS_OF_PODS = frozenset({"PersistentVolumeClaim", "ServiceAccount"})
AUTOSCALER_KIND = "HorizontalPodAutoscaler"
AUTOSCALER_KINDS = frozenset({AUTOSCALER_KIND, SCALED_OBJECT.kind})
SPEC_REASONS = frozenset({reasons.NAME_TAKEN, reasons.CHILD_INVALID})
"""Reasons that lie in the endpoint itself and make it invalid; the others lie in its namespace or cluster."""

_WHOSE = re.compile(r'^[\w.]+ "[^"]*" is (?:forbidden|invalid): ')
"""The prefix with the object's name, which for a pod is different with every attempt."""
_BY_LIMIT_RANGE = re.compile(
    r"must be less than or equal to \S+ limit|\b(?:maximum|minimum|max|min) .* per (?:Container|Pod)\b"
)
"""A LimitRange adds defaults to pods, so that a request can exceed a limit although it does not in the Deployment."""
_HINTS = (
    ("violates PodSecurity", "Relax the namespace's pod-security.kubernetes.io/enforce label, or what pod.* asks for."),
    ("service account", "Check pod.serviceAccountName."),
    ("PriorityClass", "Check pod.priorityClassName against `kubectl get priorityclass`."),
    ("RuntimeClass", "Check pod.runtimeClassName against `kubectl get runtimeclass`."),
    ("because it is being terminated", ""),
    ("per Container", "Change pod.resources, or the namespace's LimitRange (`kubectl describe limitrange`)."),
    ("per Pod", "Change pod.resources, or the namespace's LimitRange (`kubectl describe limitrange`)."),
    (
        "per PersistentVolumeClaim",
        "Change cache's size, or the namespace's LimitRange (`kubectl describe limitrange`).",
    ),
    (
        "must be less than or equal to",
        "A LimitRange of the namespace sets this limit (`kubectl describe limitrange`): write limits in pod.resources, or lower its requests.",
    ),
    ("cannot patch resource", "The operator lacks this right: see its ClusterRole (or Role)."),
    ("cannot create resource", "The operator lacks this right: see its ClusterRole (or Role)."),
    (
        "only dynamically provisioned pvc can be resized",
        "Its storage class cannot grow volumes: write cache {emptyDir: {}} (the volume is deleted), then persistentVolumeClaim again.",
    ),
)

_HINTS_WHERE_INVALID = (
    (
        "provided port is already allocated",
        "Another Service has this node port: write service.type ClusterIP, or free it (`kubectl get services -A`).",
    ),
    (
        "failed to allocate a nodePort",
        "The cluster has no free node port: write service.type ClusterIP, or remove a Service (`kubectl get services -A`).",
    ),
    (
        "field can not be less than",
        "A volume cannot shrink: write the size that it has by now in cache.persistentVolumeClaim.size, see {get}.",
    ),
    ("spec.ports", "Something else wrote ports into it. Once {command} has removed it, the operator makes it again."),
)


def refusal_issue(refusal: Refusal, view: EndpointView) -> Issue:
    """The issue behind one refused object."""
    what = f"{refusal.key.kind} {refusal.key.name}"
    if refusal.reason == reasons.NAME_TAKEN:
        get = command(f"kubectl get {refusal.key.kind.lower()} -n {view.namespace} {refusal.key.name} -o yaml")
        left = "it is left untouched"
        if refusal.key.kind in KINDS_OF_PODS:
            left += ", and so is the Deployment, whose pods would use it"
        return Issue(
            reason=reasons.NAME_TAKEN,
            message=joined(
                f"{what} is there already and does not belong to this endpoint: {left}.",
                f"Give the endpoint another name, or remove that object. See {get}.",
            ),
        )
    if refusal.code in {400, 422}:
        hint = next(
            (text for sign, text in _HINTS_WHERE_INVALID if sign in refusal.message), "Change the spec accordingly."
        )
        which = f"{refusal.key.kind.lower()} -n {view.namespace} {refusal.key.name}"
        again = hint.format(command=command(f"kubectl delete {which}"), get=command(f"kubectl get {which}"))
        message = joined(f"The API server refused {what}: {quoted(refusal.message)}", again)
        return Issue(reason=reasons.CHILD_INVALID, message=message)
    if refusal.code == 403:
        return _forbidden(what, refusal.message, view)
    message = joined(f"{what} could not be written: {quoted(refusal.message or refusal.reason)}", "It is tried again.")
    return Issue(reason=reasons.APPLY_FAILED, message=message, hard=400 <= refusal.code < 500 and refusal.code != 429)


def workload_refusals(view: EndpointView) -> Iterator[Issue]:
    """Refusals that neither have their own condition nor make the endpoint invalid."""
    for refusal in view.snapshot.refusals:
        found = refusal_issue(refusal, view)
        if refusal.key.kind not in ROUTE_KINDS | AUTOSCALER_KINDS and found.reason not in SPEC_REASONS:
            yield found


def refused(kinds: frozenset[str], view: EndpointView) -> Issue | None:
    """The issue of the first refused object of these kinds."""
    found = (refusal for refusal in view.snapshot.refusals if refusal.key.kind in kinds)
    return next((refusal_issue(refusal, view) for refusal in found), None)


def invalid_child(view: EndpointView) -> Issue | None:
    """The first refusal whose reason lies in the endpoint itself."""
    issues = (refusal_issue(refusal, view) for refusal in view.snapshot.refusals)
    return next((found for found in issues if found.reason in SPEC_REASONS), None)


def pod_refusals(view: EndpointView) -> Iterator[Issue]:
    """Pods that the Deployment's controller could not create: its condition ReplicaFailure."""
    condition = condition_of(view.deployment, "ReplicaFailure")
    if not view.deployment_is_current or get_str(condition, "status") != "True":
        return
    words = get_str(condition, "message")
    if "is forbidden" in words or _BY_LIMIT_RANGE.search(words):
        yield _forbidden("a pod", words, view)
    else:
        see = command(f"kubectl describe rs -n {view.namespace}")
        message = joined(f"A pod could not be created: {quoted(_WHOSE.sub('', words))}", f"See {see}.")
        yield Issue(reason=reasons.FAILED_CREATE, message=message)


def _forbidden(what: str, words: str, view: EndpointView) -> Issue:
    said = quoted(_WHOSE.sub("", words))
    if "exceeded quota" in words:
        see = f"Raise the quota or free something: {command(f'kubectl describe quota -n {view.namespace}')}."
        return Issue(reason=reasons.QUOTA_EXCEEDED, message=joined(f"There is no room for {what}: {said}", see))
    hint = next((text for sign, text in _HINTS if sign in words), "")
    message = joined(f"The API server forbids {what}: {said}", hint)
    return Issue(reason=reasons.FORBIDDEN, message=message)


_OF_KUBERNETES = frozenset({"foregroundDeletion", "orphan"})
"""The garbage collector removes these by itself."""


def not_there(kind: str, view: EndpointView) -> str:
    """Why there is no child of this kind: it is not created yet, or an earlier one is still being deleted."""
    name = names.child_name(view.name)
    found = view.snapshot.children.get(ChildKey(kind, name))
    if found is None or not is_terminating(found):
        return f"{kind} {name} is not there yet."
    foreign = _foreign_finalizers(found)
    if not foreign:
        return f"{kind} {name} is being deleted: once it is gone, a new one is made."
    off = f'kubectl patch {kind.lower()} -n {view.namespace} {name} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\''
    return joined(
        f"{kind} {name} is being deleted; finalizer {foreign[0]} holds it: once it is gone, a new one is made.",
        f"See to the controller that takes the finalizer off, or, if there is none any more, do it: {command(off)}.",
    )


def _foreign_finalizers(document: Document) -> list[str]:
    held_by = get_value(document, "metadata", "finalizers")
    return [str(each) for each in held_by if each not in _OF_KUBERNETES] if isinstance(held_by, list) else []
