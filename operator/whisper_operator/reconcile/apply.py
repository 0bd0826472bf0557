"""Applies an endpoint's children: sends what differs from the desired state, deletes what is no longer desired.

Memory holds, for each child, what was last desired and how the object looked then; while both stay the same, nothing is
sent. After a restart everything is applied once, which changes nothing on the server. A child of another
owner is left alone, and so is the Deployment whose pods would use it. A live object is compared through its desired
document: the API server fills in defaults and other controllers add their own fields, so only what we write counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from whisper_operator import names
from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import ACCOUNT, CLAIM, DEPLOYMENT
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.store import Key, Store, controller_of, is_endpoint
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.snapshot import ChildKey, Refusal


def digest(value: Any) -> bytes:
    """Hash of a JSON value that does not depend on the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def projected(live: Any, desired: Any) -> Any:
    """The part of the live value that the desired value covers.

    Of an object only the desired keys are kept. A list with more or fewer items than desired is kept whole.
    """
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return {key: projected(live[key], desired[key]) for key in desired if key in live}
    if isinstance(desired, list | tuple) and isinstance(live, list) and len(desired) == len(live):
        return [projected(one, other) for one, other in zip(live, desired, strict=True)]
    return live


def fingerprint(live: Document, desired: Document) -> bytes:
    """Hash of a live object, reduced to the fields of the desired object."""
    return digest(projected(live, desired))


log = logging.getLogger(__name__)

DELETION_POLL_S = 1.0
"""How soon to look again for children of a deleted endpoint of the same name."""
MAX_CONFLICT_BACK_OFF_S = 60.0
"""Longest back-off between two reverts of a child that another writer keeps changing."""
USED_BY_PODS = frozenset({ACCOUNT.kind, CLAIM.kind})
"""Pods refer to these by name: with another owner's claim, models would be written into that owner's volume."""


@dataclass
class Applied:
    """What was applied for a child: digests of the desired object and of the live object afterwards."""

    desired: bytes
    live: bytes
    n_drifts: int = 0
    quiet_until: float = 0.0


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

    def __init__(self, cluster: Cluster, store: Store, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._applied: dict[str, dict[ChildKey, Applied]] = {}

    def forget(self, uid: str) -> None:
        self._applied.pop(uid, None)

    async def apply_children(self, endpoint: Endpoint, desired_children: Iterable[Document]) -> ApplyResult:
        """Applies the children in order and deletes the others. Raises ApiError if the API server does not answer."""
        result = ApplyResult()
        desired_keys: set[ChildKey] = set()
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
            now = self._clock()
            if now < known.quiet_until:
                result.requeue_after(known.quiet_until - now)
                return
        # With the uid the API server refuses the apply if the object was replaced since it was read, instead of taking it over.
        sent = (
            desired
            if live is None
            else {**desired, "metadata": {**desired["metadata"], "uid": live["metadata"]["uid"]}}
        )
        after = await self._cluster.apply(sent)
        result.n_written += Key(endpoint.namespace, endpoint.name) in self._store.put(after)
        self._metrics.applies.labels(key.kind, "ok").inc()
        remembered[key] = Applied(desired_digest, fingerprint(after, desired))
        if drifted and known is not None:
            self._note_drift(endpoint, key, remembered[key], known)

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
        # Left behind by `kubectl delete --cascade=orphan`.
        if not metadata.get("ownerReferences") and names.is_ours(metadata.get("labels") or {}):
            return not metadata.get("deletionTimestamp")
        result.not_ours.add(key)
        whose = f"{owner['kind']} {owner['name']}" if owner is not None else "another owner"
        message = f"there is a {key.kind} {key.name} that belongs to {whose}: delete or rename it, or name the endpoint otherwise"
        result.refusals.append(Refusal(key=key, code=0, reason="NameTaken", message=message))
        return False

    def _note_drift(self, endpoint: Endpoint, key: ChildKey, applied: Applied, before: Applied) -> None:
        """Conflict back-off: the more often another writer changes a child, the longer we wait before the next revert."""
        now = self._clock()
        settled = now > before.quiet_until + MAX_CONFLICT_BACK_OFF_S
        applied.n_drifts = 1 if settled else before.n_drifts + 1
        applied.quiet_until = now + min(MAX_CONFLICT_BACK_OFF_S, 0.25 * 2 ** min(applied.n_drifts, 30))
        self._metrics.drifts.labels(key.kind).inc()
        fields = {"endpoint": f"{endpoint.namespace}/{endpoint.name}", "kind": key.kind, "name": key.name}
        log.info("reverted drift", extra={"fields": fields})

    async def _delete_others(self, endpoint: Endpoint, desired_keys: set[ChildKey], result: ApplyResult) -> None:
        for key, child in self._store.children(Key(endpoint.namespace, endpoint.name)).items():
            owner = controller_of(child)
            is_owned = owner is not None and owner["uid"] == endpoint.uid
            if key in desired_keys or not is_owned or child["metadata"].get("deletionTimestamp"):
                continue
            try:
                await self._cluster.delete(child)
            except ApiError as error:
                self._judge(error, key, result)
                continue
            self._metrics.deletes.labels(key.kind).inc()
            self._applied.get(endpoint.uid, {}).pop(key, None)

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
