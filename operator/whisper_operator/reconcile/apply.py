"""Applies an endpoint's children: sends what differs from the desired state, deletes what is no longer desired.

Memory holds, for each child, what was last desired and how the object looked then; while both stay the same, nothing is
sent. After a restart everything is applied once, which changes nothing on the server. A child of another
owner is left alone, and so is the Deployment whose pods would use it. `drift` says what has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from whisper_operator import names
from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import ACCOUNT, CLAIM, DEPLOYMENT
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.drift import (
    CORRECTED_AFTERWARDS,
    NEVER_CORRECTED,
    correction,
    digest,
    fingerprint,
    replacement,
)
from whisper_operator.reconcile.field_conflicts import FieldConflicts
from whisper_operator.reconcile.store import Key, Store, controller_of, is_endpoint
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.snapshot import ChildKey, Refusal

log = logging.getLogger(__name__)

DELETION_POLL_S = 1.0
"""How soon to look again for children of a deleted endpoint of the same name."""
USED_BY_PODS = frozenset({ACCOUNT.kind, CLAIM.kind})
"""Pods refer to these by name: with another owner's claim, models would be written into that owner's volume."""


@dataclass
class Applied:
    """What was applied for a child: digests of the desired object and of the live object afterwards."""

    desired: bytes
    live: bytes


@dataclass
class ApplyResult:
    """Outcome of applying an endpoint's children."""

    refusals: list[Refusal] = field(default_factory=list)
    requeue_after_s: float | None = None
    """When to reconcile again, because something is about to change."""
    errors: list[ApiError] = field(default_factory=list)
    """Errors of the API server that another attempt may not meet."""

    not_ours: set[ChildKey] = field(default_factory=set)
    """Children whose names are taken by objects of other owners."""

    n_written: int = 0
    """Changes in the store that this reconciliation made itself."""

    def requeue_after(self, delay_s: float) -> None:
        self.requeue_after_s = delay_s if self.requeue_after_s is None else min(self.requeue_after_s, delay_s)


class Applier:
    """Applies children, and remembers what it applied."""

    def __init__(self, cluster: Cluster, store: Store, metrics: Metrics, conflicts: FieldConflicts) -> None:
        self._cluster = cluster
        self._store = store
        self._metrics = metrics
        self._conflicts = conflicts
        self._applied: dict[str, dict[ChildKey, Applied]] = {}

    def forget(self, uid: str) -> None:
        self._applied.pop(uid, None)

    async def apply_children(
        self, endpoint: Endpoint, desired_children: Iterable[Document], kept: Iterable[ChildKey] = ()
    ) -> ApplyResult:
        """Applies the children in order and deletes the others, except those in `kept`. Raises ApiError if the API server does not answer."""
        result = ApplyResult()
        desired_keys = set(kept)
        for desired in desired_children:
            key = ChildKey(desired["kind"], desired["metadata"]["name"])
            desired_keys.add(key)
            if key.kind == DEPLOYMENT.kind and any(other.kind in USED_BY_PODS for other in result.not_ours):
                continue
            try:
                await self._apply(endpoint, key, desired, result)
            except ApiError as error:
                self._metrics.applies.labels(key.kind, "error").inc()
                self._judge(error, key, result)
        await self._delete_others(endpoint, desired_keys, result)
        return result

    async def _apply(self, endpoint: Endpoint, key: ChildKey, desired: Document, result: ApplyResult) -> None:
        live = await self.live(endpoint.namespace, key, desired["apiVersion"])
        if live is not None and not self._is_ours_to_write(live, endpoint, key, result):
            return
        remembered = self._applied.setdefault(endpoint.uid, {})
        known, desired_digest = remembered.get(key), digest(desired)
        drifted = False
        if known is not None and known.desired == desired_digest:
            drifted = live is None or fingerprint(live, desired) != known.live
            if not drifted:
                return
            if wait_s := self._conflicts.wait_s(endpoint.uid, key):
                result.requeue_after(wait_s)
                return
            live = await self._conflicts.as_read(endpoint.uid, key, live)
        # With the uid the API server refuses the apply if the object was replaced since it was read, instead of taking it over.
        sent = (
            desired
            if live is None
            else {**desired, "metadata": {**desired["metadata"], "uid": live["metadata"]["uid"]}}
        )
        after = await self._corrected(live, sent, drifted=drifted)
        if (
            drifted
            and known is not None
            and key.kind not in NEVER_CORRECTED
            and fingerprint(after, desired) != known.live
        ):
            # A field more in an item of a list: apply leaves it to whom it belongs.
            after = await self._cluster.correct(after, replacement(after, desired))
        result.n_written += Key(endpoint.namespace, endpoint.name) in self._store.put(after)
        self._metrics.applies.labels(key.kind, "ok").inc()
        remembered[key] = Applied(desired_digest, fingerprint(after, desired))
        if drifted:
            await self._conflicts.note(endpoint.uid, key, live, after, desired)
            self._metrics.drifts.labels(key.kind).inc()
            fields = {"endpoint": f"{endpoint.namespace}/{endpoint.name}", "kind": key.kind, "name": key.name}
            log.info("reverted drift", extra={"fields": fields})

    async def _corrected(self, live: Document | None, sent: Document, *, drifted: bool) -> dict[str, Any]:
        """Applies, and patches what apply leaves as it is."""
        if live is None or sent["kind"] in NEVER_CORRECTED:
            return await self._cluster.apply(sent)
        patch = correction(live, sent)
        is_refused = sent["kind"] not in CORRECTED_AFTERWARDS and bool(patch)
        if not is_refused:
            try:
                after = await self._cluster.apply(sent)
            except ApiError as error:
                if error.code != 422 or not patch:
                    raise
                is_refused = True
        if is_refused:
            await self._cluster.correct(live, patch)
            after = await self._cluster.apply(sent)
        surplus = correction(after, sent, surplus_only=True)
        # Surplus that is older than this operator stays until the pods are replaced: an upgrade restarts none.
        if surplus and (drifted or settings_hash(live) != settings_hash(sent)):
            after = await self._cluster.correct(after, surplus)
        return after

    async def live(self, namespace: str, key: ChildKey, api_version: str) -> Document | None:
        """The live child, whatever its owner."""
        cached = self._store.cached(key.kind, namespace, key.name)
        if cached is not None:
            return cached.document
        # Objects without our labels are not watched: it may have another owner, or somebody removed the labels.
        return await self._cluster.get(api_version, key.kind, namespace, key.name)

    def _is_ours_to_write(self, live: Document, endpoint: Endpoint, key: ChildKey, result: ApplyResult) -> bool:
        metadata = live["metadata"]
        owner = controller_of(live)
        if owner is not None and owner["uid"] == endpoint.uid:
            # A terminating child cannot be applied; its deletion will be an event.
            return not metadata.get("deletionTimestamp")
        if owner is not None and is_endpoint(owner) and owner["name"] == endpoint.name:
            result.requeue_after(DELETION_POLL_S)
            result.not_ours.add(key)
            return False
        # Left behind by `kubectl delete --cascade=orphan`, or somebody has edited our owner reference.
        owners = {reference.get("uid") for reference in metadata.get("ownerReferences") or ()}
        if owner is None and owners <= {endpoint.uid} and names.is_ours(metadata.get("labels") or {}):
            return not metadata.get("deletionTimestamp")
        result.not_ours.add(key)
        whose = f"{owner['kind']} {owner['name']}" if owner is not None else "another owner"
        message = f"there is a {key.kind} {key.name} that belongs to {whose}: delete or rename it, or name the endpoint otherwise"
        result.refusals.append(Refusal(key=key, code=0, reason="NameTaken", message=message))
        return False

    async def _delete_others(self, endpoint: Endpoint, desired_keys: set[ChildKey], result: ApplyResult) -> None:
        for key, child in self._store.children(Key(endpoint.namespace, endpoint.name)).items():
            if key in desired_keys or not _is_adopted(child, endpoint) or child["metadata"].get("deletionTimestamp"):
                continue
            try:
                await self._cluster.delete(child)
            except ApiError as error:
                self._judge(error, key, result)
                continue
            self._metrics.deletes.labels(key.kind).inc()
            self._applied.get(endpoint.uid, {}).pop(key, None)
            self._conflicts.forget_child(endpoint.uid, key)

    @staticmethod
    def _judge(error: ApiError, key: ChildKey, result: ApplyResult) -> None:
        """No answer ends the reconciliation; 409 means that the object has changed since it was read; other 4xx go into the status."""
        if error.code in (0, 401, 429):
            raise error
        if error.code == 409:
            result.requeue_after(DELETION_POLL_S)
        elif error.code >= 500:
            result.errors.append(error)
        else:
            result.refusals.append(Refusal(key=key, code=error.code, reason=error.reason, message=error.message))


def _is_adopted(child: Document, endpoint: Endpoint) -> bool:
    """Whether a child is ours to delete: owned, or left behind by `kubectl delete --cascade=orphan`.

    An autoscaler that was left behind would go on to scale the new endpoint. A claim is kept: it holds models.
    """
    owner = controller_of(child)
    if owner is not None:
        return bool(owner["uid"] == endpoint.uid)
    metadata = child["metadata"]
    is_orphan = not metadata.get("ownerReferences") and names.is_ours(metadata.get("labels") or {})
    return is_orphan and child["kind"] != CLAIM.kind


def settings_hash(document: Document) -> str:
    """Of a Deployment's pods; empty for other kinds."""
    template = document.get("spec", {}).get("template") or {}
    annotations = template.get("metadata", {}).get("annotations") or {}
    return str(annotations.get(names.SETTINGS_HASH_ANNOTATION, ""))
