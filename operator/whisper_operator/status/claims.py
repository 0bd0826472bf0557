"""The PersistentVolumeClaim of the cache: created by the operator, or named in the spec. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from whisper_operator import names
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.endpoint_view import EndpointView, is_terminating, node_of, pod_name
from whisper_operator.status.issue import Issue, command, joined, quoted

_COMPLAINTS = frozenset({"ProvisioningFailed", "FailedBinding"})


def claim_issues(view: EndpointView) -> Iterator[Issue]:
    """Issues of the claim that the pods need, if they need one."""
    cache = view.endpoint.spec.cache if view.endpoint else None
    if cache and cache.persistent_volume_claim:
        key = ChildKey("PersistentVolumeClaim", names.cache_claim_name(view.name))
        yield from _judge(view.snapshot.children.get(key), key.name, view)
    elif cache and cache.existing_claim:
        yield from _judge(view.snapshot.existing_claim, cache.existing_claim, view, is_ours=False)


def _judge(claim: Document | None, name: str, view: EndpointView, *, is_ours: bool = True) -> Iterator[Issue]:
    see = command(f"kubectl describe pvc -n {view.namespace} {name}")
    if claim is None:
        if not is_ours:
            yield Issue(
                reason=reasons.CLAIM_MISSING,
                message=f"PersistentVolumeClaim {name} (cache.existingClaim) is not there: make it in namespace {view.namespace}, or name another.",
            )
        elif view.deployment is not None:
            yield Issue(
                reason=reasons.CLAIM_MISSING,
                message=f"PersistentVolumeClaim {name} is not there: it is being made again.",
            )
    elif is_terminating(claim):
        yield _deleted(name, view, is_ours=is_ours)
    elif (phase := get_str(claim, "status", "phase")) == "Lost":
        remedy = (
            f"Delete it, and a new one is made: {command(f'kubectl delete pvc -n {view.namespace} {name}')}."
            if is_ours
            else "Name another one in cache.existingClaim."
        )
        yield Issue(
            reason=reasons.CLAIM_LOST, message=joined(f"The volume of PersistentVolumeClaim {name} is gone.", remedy)
        )
    elif phase != "Bound" and not view.all_ready:
        yield _pending(claim, name, see, view)


def _deleted(name: str, view: EndpointView, *, is_ours: bool) -> Issue:
    users = [pod_name(pod) for pod in view.pods if node_of(pod)]
    then = "a new, empty one is made" if is_ours else "nothing takes its place: name another in cache.existingClaim"
    delete = command(f"kubectl delete pod -n {view.namespace} {users[0]}") if users else ""
    holds = f"It goes when pod {users[0]}, which uses it, does: {delete}." if users else ""
    return Issue(
        reason=reasons.CLAIM_MISSING,
        message=joined(f"PersistentVolumeClaim {name} is being deleted; once it is gone, {then}.", holds),
    )


def _pending(claim: Document, name: str, see: str, view: EndpointView) -> Issue:
    """Pending is fine as long as no event complains: many storage classes create a volume only when a pod needs it."""
    storage_class = get_str(claim, "spec", "storageClassName")
    of_class = f" (storage class {storage_class})" if storage_class else " (it names no storage class)"
    events = [event for event in view.snapshot.claim_events if get_str(event, "reason") in _COMPLAINTS]
    if events:
        words = f"Kubernetes says: {quoted(get_str(events[0], 'message'))}"
        remedy = "" if storage_class else "Set cache.persistentVolumeClaim.storageClassName, or a default StorageClass."
        return Issue(
            reason=reasons.CLAIM_PENDING,
            message=joined(f"PersistentVolumeClaim {name}{of_class} has no volume.", words, remedy, f"See {see}."),
        )
    return Issue(
        reason=reasons.CLAIM_PENDING,
        message=joined(f"PersistentVolumeClaim {name}{of_class} has no volume yet.", f"If it takes long, see {see}."),
        hard=False,
    )
