"""Reconciles one endpoint: applies its children, takes a snapshot of the cluster, writes the status.

Level-triggered: it depends only on the current state, never on events, and may be killed at any point. It does not touch
the children of an endpoint that is deleted or terminating. The decisions are elsewhere: what the children are
(`manifests`), what the status says (`status`), when a reconciliation runs (`work_queue`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from whisper_operator import manifests, names, status
from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.errors import SpecError
from whisper_operator.kinds import DEPLOYMENT, HTTP_ROUTE, INGRESS
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.apply import Applier, ApplyResult
from whisper_operator.reconcile.cached_reader import CachedReader
from whisper_operator.reconcile.field_conflicts import FieldConflicts
from whisper_operator.reconcile.image_turns import ImageTurns, Outcome, Turn
from whisper_operator.reconcile.inputs import NO_CLASS, NO_RESULTS, Inputs, parsed
from whisper_operator.reconcile.preloads import Preloads
from whisper_operator.reconcile.route_conflicts import RouteConflicts
from whisper_operator.reconcile.snapshot_builder import SnapshotBuilder, SnapshotResult, poll_delay_s
from whisper_operator.reconcile.status_writer import StatusWriter
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.reconcile.work_queue import Result
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import ChildKey, PreloadState

log = logging.getLogger(__name__)

ROUTES = (INGRESS.kind, HTTP_ROUTE.kind)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Work for a WorkQueue of Keys. `enqueue` is called for other endpoints that a change affects."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        settings: Settings,
        metrics: Metrics,
        served_kinds: frozenset[str],
        enqueue: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._served_kinds = served_kinds
        self._clock = clock
        self._now = now
        self._conflicts = FieldConflicts(cluster, clock)
        self._applier = Applier(cluster, store, metrics, self._conflicts)
        self._statuses = StatusWriter(cluster, store, metrics, self._conflicts)
        self._preloads = Preloads(cluster, store, self._applier)
        self.route_conflicts = RouteConflicts(store, enqueue)
        self.image_turns = ImageTurns(settings, store, metrics, enqueue)
        self.reader = CachedReader(cluster, settings, clock)
        self._snapshots = SnapshotBuilder(store, self.reader, settings.missing_seconds)
        self._done_inputs: dict[Key, Inputs] = {}
        self._refused_since: dict[Key, float] = {}
        self._uids: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> Result:
        """Never raises ApiError: after an error of the API server the endpoint is requeued."""
        started_s = self._clock()
        try:
            result, outcome = await self._reconcile(key)
        except ApiError as error:
            self._done_inputs.pop(key, None)
            result, outcome = "failed", Result(requeue_after_s=error.retry_after_s, failed=True)
            log.warning("reconcile failed, will retry: %s", error, extra={"fields": {"endpoint": "/".join(key)}})
        self._metrics.reconciles.labels(result).inc()
        if result not in ("unchanged", "gone"):
            self._metrics.reconcile_seconds.observe(self._clock() - started_s)
        return outcome

    async def _reconcile(self, key: Key) -> tuple[str, Result]:
        changes = self._store.changes(key)
        self.route_conflicts.update(key)
        document = self._store.endpoint(key)
        if document is None or document["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return "gone", Result()
        uid = document["metadata"]["uid"]
        if self._uids.setdefault(key, uid) != uid:
            self._forget_uid(self._uids[key])
            self._uids[key] = uid
        endpoint, problem = parsed(document)
        lookups = await self.reader.read(endpoint) if endpoint else NO_RESULTS
        ingress = endpoint.spec.exposure.ingress if endpoint and endpoint.spec.exposure else None
        if ingress and manifests.names_no_class(ingress):
            self.route_conflicts.set_default_class((lookups.ingress_class or NO_CLASS)["metadata"]["name"])
        verdict = self.image_turns.verdict(key)
        inputs = Inputs(changes, lookups, self.route_conflicts.owner_of(key), verdict, self._served_kinds)
        if self._done_inputs.get(key) == inputs:
            return "unchanged", Result(requeue_after_s=lookups.requeue_after_s)
        result, turn, preload = ApplyResult(), Turn(self._settings), None
        if endpoint is not None:
            deployed = await self._deployed(endpoint)
            preload = await self._preloads.state(endpoint, deployed)
            is_preloading = preload is not None
            turn = self.image_turns.turn_of(key, document, endpoint, deployed, is_preloading=is_preloading)
            # The first verdict on an endpoint is that of one that does not wait; a later one that its turn has come must differ.
            inputs = replace(inputs, image_verdict=self.image_turns.verdict(key))
            try:
                children = self._desired_children(endpoint, inputs, deployed, turn)
                result = await self._preloads.apply(endpoint, children, deployed)
            except SpecError as error:
                problem = error
        built = await self._report(document, endpoint, problem, inputs, result=result, turn=turn, preload=preload)
        return self._settle(key, inputs, result, built)

    def _desired_children(
        self, endpoint: Endpoint, inputs: Inputs, deployed: Document | None, turn: Turn
    ) -> list[dict[str, Any]]:
        ingress_class = inputs.lookups.ingress_class or NO_CLASS
        children = manifests.make_children(
            endpoint,
            turn.settings,
            served_kinds=self._served_kinds,
            ingress_controller=self._settings.ingress_controller or ingress_class["spec"].get("controller", ""),
            default_class=ingress_class["metadata"]["name"],
            deployed=deployed,
            jobs=self._preloads.jobs(endpoint),
            in_turn=bool(turn.staged),
        )
        return [child for child in children if not (inputs.route_owner and child["kind"] in ROUTES)]

    async def _deployed(self, endpoint: Endpoint) -> Document | None:
        deployment = ChildKey(DEPLOYMENT.kind, names.child_name(endpoint.name))
        try:
            return await self._applier.live(endpoint.namespace, deployment, DEPLOYMENT.api_version)
        except ApiError as error:
            # Without the right to read it, writing it fails too, and that refusal is in the status.
            if error.code != 403:
                raise
            return None

    async def _report(
        self,
        document: Document,
        endpoint: Endpoint | None,
        problem: SpecError | None,
        inputs: Inputs,
        *,
        result: ApplyResult,
        turn: Turn,
        preload: PreloadState | None,
    ) -> SnapshotResult:
        """Writes the status if it has changed."""
        uid = document["metadata"]["uid"]
        built = await self._snapshots.build(
            document,
            inputs.lookups,
            served_kinds=inputs.served_kinds,
            route_owner=inputs.route_owner,
            refusals=tuple(result.refusals),
            image_hold=turn.hold,
            preload=preload,
            conflicts=self._conflicts.current(uid),
            now=self._now(),
        )
        new = status.make_status(
            endpoint,
            problem,
            document=document,
            snapshot=built.snapshot,
            resolved=manifests.resolve(endpoint, turn.settings) if endpoint and problem is None else None,
            url=manifests.url_of(endpoint, self._settings, inputs.lookups.gateways) if endpoint else "",
            now=self._now(),
        )
        await self._statuses.write(document, new, result)
        if (left_s := self._conflicts.left_s(uid)) is not None:
            result.requeue_after(left_s)
        outcome = Outcome.INVALID if problem else Outcome.REFUSED if result.refusals else Outcome.SENT
        key = Key(document["metadata"]["namespace"], document["metadata"]["name"])
        self.image_turns.note(key, new, turn, outcome)
        return built

    def _settle(self, key: Key, inputs: Inputs, result: ApplyResult, built: SnapshotResult) -> tuple[str, Result]:
        waits = [
            wait
            for wait in (built.requeue_after_s, inputs.lookups.requeue_after_s, result.requeue_after_s)
            if wait is not None
        ]
        if result.refusals:
            # A user or an administrator must fix it: poll often at first, then more and more rarely.
            now = self._clock()
            since = self._refused_since.setdefault(key, now)
            waits.append(poll_delay_s(self._settings.missing_seconds, now - since))
        else:
            self._refused_since.pop(key, None)
        if result.refusals or result.errors or result.requeue_after_s is not None or not built.is_steady:
            self._done_inputs.pop(key, None)
        else:
            # If something else changed during the reconciliation, the counts differ, and the event has enqueued the key again.
            self._done_inputs[key] = replace(inputs, changes=inputs.changes + result.n_written)
        if result.errors:
            return "failed", Result(requeue_after_s=result.errors[0].retry_after_s, failed=True)
        return ("refused" if result.refusals else "done"), Result(requeue_after_s=min(waits, default=None))

    def _forget(self, key: Key) -> None:
        self._done_inputs.pop(key, None)
        self._refused_since.pop(key, None)
        self._forget_uid(self._uids.pop(key, ""))
        self._store.forget(key)
        self.image_turns.forget(key)

    def _forget_uid(self, uid: str) -> None:
        for memory in (self._applier, self._conflicts, self._statuses):
            memory.forget(uid)
