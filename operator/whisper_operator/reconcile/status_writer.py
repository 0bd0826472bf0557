"""Writes the status of an endpoint if it has changed, and the Events for the change.

Two operators that watch the same endpoint write different statuses, and each write wakes the other: so a status that
another client has overwritten is written again as late as a child that drifts.
"""

from __future__ import annotations

from typing import Any

from whisper_operator import names, status
from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.apply import DELETION_POLL_S, ApplyResult
from whisper_operator.reconcile.drift import digest
from whisper_operator.reconcile.field_conflicts import FieldConflicts
from whisper_operator.reconcile.inputs import relevant_fields
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey


class StatusWriter:
    """Remembers what it wrote last, by the endpoint's uid."""

    def __init__(self, cluster: Cluster, store: Store, metrics: Metrics, conflicts: FieldConflicts) -> None:
        self._cluster = cluster
        self._store = store
        self._metrics = metrics
        self._conflicts = conflicts
        self._written: dict[str, bytes] = {}

    def forget(self, uid: str) -> None:
        self._written.pop(uid, None)

    async def write(self, document: Document, new: dict[str, Any], result: ApplyResult) -> None:
        """`document` has the status that is stored, `new` the one that it should be."""
        uid, there = document["metadata"]["uid"], document.get("status")
        if new == there:
            self._written[uid] = digest(new)
            return
        key = ChildKey(names.KIND, document["metadata"]["name"])
        is_overwritten = self._written.get(uid, digest(there)) != digest(there)
        if is_overwritten and (wait_s := self._conflicts.wait_s(uid, key)):
            result.requeue_after(wait_s)
            return
        before = await self._conflicts.as_read(uid, key, document) if is_overwritten else document
        after = await self._applied(document, new, result)
        if after is None:
            return
        self._written[uid] = digest(after.get("status"))
        if is_overwritten:
            await self._conflicts.note(uid, key, before, after, {"status": new})
        for event in status.events_between(document, new):
            await self._cluster.record_event(
                document, type_=event.type, reason=event.reason, message=event.message, action=event.action
            )

    async def _applied(self, document: Document, new: dict[str, Any], result: ApplyResult) -> Document | None:
        """None: the endpoint was deleted or replaced, and an event will follow."""
        metadata = document["metadata"]
        desired = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {key: metadata[key] for key in ("namespace", "name", "uid")},
            "status": new,
        }
        try:
            after = await self._cluster.apply_status(desired)
        except ApiError as error:
            if error.code in (404, 409):
                result.requeue_after(DELETION_POLL_S)
                return None
            raise
        result.n_written += Key(metadata["namespace"], metadata["name"]) in self._store.put(after)
        if relevant_fields(after) != relevant_fields(document):
            # The answer already holds a newer spec, so its event will not count as a change.
            result.requeue_after(0)
        self._metrics.applies.labels("WhisperEndpointStatus", "ok").inc()
        return after
