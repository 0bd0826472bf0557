"""Builds the ClusterSnapshot of an endpoint: objects from the store, what was read, and Events of stuck objects.

It also decides when to look again: for starting pods and for objects that wait without a reason, time alone matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from whisper_operator.kinds import CLAIM
from whisper_operator.reconcile.cached_reader import CachedReader, LookupResults
from whisper_operator.reconcile.store import Key, Store, controller_of
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey, ClusterSnapshot, FieldConflict, ImageHold, PreloadState, Refusal

STUCK_AFTER_S = 3.0
"""Events are read for a pod that has been on its node for this long and whose containers give no reason."""
MAX_POLL_DELAY_S = 60.0
PROGRESS_POLL_S = 5.0
"""As often as the log of a preload has a new figure."""
SILENT = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class SnapshotResult:
    """A snapshot, and for how long it is valid."""

    snapshot: ClusterSnapshot
    requeue_after_s: float | None
    """When to look again even without an event; None: not needed."""
    is_steady: bool
    """True if the same state, observed later, cannot change the status."""


def poll_delay_s(first_s: float, age_s: float) -> float:
    """Poll delay for something that has been missing for `age_s`: a tenth of its age, at least `first_s`, at most a minute."""
    return min(max(first_s, age_s / 10), max(MAX_POLL_DELAY_S, first_s))


class SnapshotBuilder:
    """Builds snapshots."""

    def __init__(self, store: Store, reader: CachedReader, poll_s: float) -> None:
        self._store = store
        self._reader = reader
        self._poll_s = poll_s

    async def build(
        self,
        document: Document,
        lookups: LookupResults,
        *,
        served_kinds: frozenset[str],
        route_owner: str,
        refusals: tuple[Refusal, ...],
        image_hold: ImageHold | None = None,
        preload: PreloadState | None = None,
        conflicts: tuple[FieldConflict, ...] = (),
        now: datetime,
    ) -> SnapshotResult:
        metadata = document["metadata"]
        key = Key(metadata["namespace"], metadata["name"])
        children = {
            name: found for name, found in self._store.children(key).items() if is_owned(found, metadata["uid"])
        }
        pods = self._store.pods(key)
        fetching = preload.pods if preload else ()
        quiet = [pod for pod in (*pods, *fetching) if waits_without_reason(pod)]
        stuck = [pod for pod in quiet if age_s(pod, now) >= STUCK_AFTER_S]
        claims = [claim for claim in (*_claims(children), lookups.existing_claim) if claim and is_pending(claim)]
        refused = [pod for pod in pods if got_no_node(pod) and asks_for_devices(pod)]
        snapshot = ClusterSnapshot(
            children=children,
            pods=pods,
            slices=self._store.slices(key),
            secrets=lookups.secrets,
            existing_claim=lookups.existing_claim,
            ingress_class=lookups.ingress_class,
            served_kinds=served_kinds,
            pod_events={pod["metadata"]["name"]: await self._reader.events(pod) for pod in stuck},
            claim_events=await self._reader.events(claims[0]) if claims else (),
            nodes=await self._reader.nodes() if refused else None,
            route_owner=route_owner,
            refusals=refusals,
            image_hold=image_hold,
            preload=preload,
            conflicts=conflicts,
        )
        waits = [PROGRESS_POLL_S] if fetching else []
        waits += [poll_delay_s(self._poll_s, age_s(waiting, now)) for waiting in (*quiet, *claims, *refused)]
        return SnapshotResult(
            snapshot, min(waits, default=None), is_steady=not waits and not any(map(is_starting, pods))
        )


def is_owned(child: Document, uid: str) -> bool:
    owner = controller_of(child)
    return owner is not None and owner["uid"] == uid


def is_starting(pod: Document) -> bool:
    """Whether a pod may change its state with time alone: it has a node, but is not ready."""
    if not pod.get("spec", {}).get("nodeName"):
        return False
    return not is_ready(pod)


def is_ready(pod: Document) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions") or ()
    )


def is_pending(claim: Document) -> bool:
    return bool(claim.get("status", {}).get("phase", "Pending") == "Pending")


def age_s(document: Document, now: datetime) -> float:
    return (now - datetime.fromisoformat(document["metadata"]["creationTimestamp"])).total_seconds()


def waits_without_reason(pod: Document) -> bool:
    """Whether a pod has a node but neither runs nor gives a reason for waiting."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return False
    if not pod.get("spec", {}).get("nodeName"):
        return False
    waits = [one.get("state", {}).get("waiting", {}) for one in status.get("containerStatuses") or ()]
    return all(one.get("reason", "") in SILENT and not one.get("message") for one in waits)


def got_no_node(pod: Document) -> bool:
    """Whether the scheduler found no node. Of a pod that asks for devices, nodes are read; they are not watched, so only time shows
    that they changed. All else that the status says is in the pod, whose changes are events: of 250 endpoints without room, polls
    took 12 to 19 % of a core.
    """
    conditions = pod.get("status", {}).get("conditions") or ()
    return not pod.get("spec", {}).get("nodeName") and any(
        one["type"] == "PodScheduled" and one["status"] == "False" for one in conditions
    )


def asks_for_devices(pod: Document) -> bool:
    """Whether a container requests an extended resource, such as a GPU."""
    containers = pod.get("spec", {}).get("containers") or ()
    return any("/" in name for one in containers for name in (one.get("resources", {}).get("limits") or {}))


def _claims(children: dict[ChildKey, dict[str, Any]]) -> list[Document]:
    return [child for key, child in children.items() if key.kind == CLAIM.kind]
