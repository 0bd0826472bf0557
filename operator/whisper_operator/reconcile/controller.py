"""What the leading operator does: store, watches, queue and drift checks, put together and kept running.

It ends only by an error, cancelled, or by RestartRequired. No decisions about endpoints here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress

from whisper_operator import kinds
from whisper_operator.cluster.api import KubernetesCluster
from whisper_operator.cluster.connection import Connection
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.reconciler import Reconciler
from whisper_operator.reconcile.resync import Resync
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.reconcile.watch_meter import WatchMeter
from whisper_operator.reconcile.watcher import Watcher
from whisper_operator.reconcile.work_queue import WorkQueue
from whisper_operator.resource.fields import Document
from whisper_operator.settings import Settings

log = logging.getLogger(__name__)

KINDS_EVERY_S = 10.0
RESYNC_EVERY_DRIFTS = 5


class RestartRequired(Exception):
    """The cluster serves other kinds than at the start."""


class Controller:
    """All that runs while this operator leads."""

    def __init__(
        self, settings: Settings, connection: Connection, cluster: KubernetesCluster, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._cluster = cluster
        self._metrics = metrics
        self._store = Store()
        self._meter = WatchMeter()
        self._served_at_start: frozenset[str] = frozenset()

    def watch_age_s(self) -> float:
        return self._meter.age_s()

    async def run(self, kopf_started: Callable[[], None]) -> None:
        served = self._served_at_start = await self._served()
        watched = [
            kinds.ENDPOINT,
            kinds.POD,
            *(kind for kind in kinds.CHILDREN if kind not in kinds.OPTIONAL or kind.kind in served),
        ]

        def enqueue(key: Key) -> None:
            queue.add(key)

        reconciler = Reconciler(
            cluster=self._cluster,
            store=self._store,
            settings=self._settings,
            metrics=self._metrics,
            served_kinds=served,
            enqueue=enqueue,
        )
        queue = WorkQueue[Key](reconciler.reconcile)

        def on_change(key: Key) -> None:
            reconciler.route_conflicts.update(key)
            queue.add(key)

        namespaces = self._settings.watch_namespaces
        resync = Resync(self._cluster, self._store, self._metrics, kinds=watched, namespaces=namespaces)
        started_s = time.monotonic()
        await resync.fill()
        for key in self._store.endpoints():
            on_change(key)
        fields = {"endpoints": queue.depth, "seconds": round(time.monotonic() - started_s, 1)}
        log.info("knows the cluster", extra={"fields": fields})
        watcher = Watcher(
            self._connection,
            self._store,
            self._metrics,
            self._meter,
            kinds=watched,
            namespaces=namespaces,
            enqueue=on_change,
        )
        self._metrics.watch(lambda: queue.depth, self._meter.age_s)
        self._metrics.watch_endpoints(self._by_reason)
        await _first_of(
            queue.run(self._settings.workers),
            self._watch(watcher, kopf_started),
            self._look_for_drift(queue, reconciler),
            self._compare(resync, on_change),
            self._look_at_kinds(),
        )

    async def _watch(self, watcher: Watcher, kopf_started: Callable[[], None]) -> None:
        try:
            await watcher.run(kopf_started)
        # Kopf gives up on what it is not served any more. Whatever else it was ends the process, too, but as an error.
        except Exception:
            await self._check_kinds()
            raise

    async def _look_for_drift(self, queue: WorkQueue[Key], reconciler: Reconciler) -> None:
        """Every endpoint once in the period, evenly spread."""
        while True:
            keys = list(self._store.endpoints())
            reconciler.reader.forget_old()
            for number, key in enumerate(keys):
                queue.add_after(key, self._settings.drift_seconds * (number + 1) / len(keys))
            await asyncio.sleep(self._settings.drift_seconds)

    async def _compare(self, resync: Resync, on_change: Callable[[Key], None]) -> None:
        while True:
            await asyncio.sleep(RESYNC_EVERY_DRIFTS * self._settings.drift_seconds)
            try:
                for key in await resync.compare():
                    on_change(key)
            except ApiError as error:
                log.warning("the store could not be compared: %s", error)

    async def _look_at_kinds(self) -> None:
        while True:
            await asyncio.sleep(KINDS_EVERY_S)
            with suppress(ApiError):
                await self._check_kinds()

    async def _check_kinds(self) -> None:
        if not await self._cluster.serves(kinds.ENDPOINT.api_version, kinds.ENDPOINT.kind):
            raise RestartRequired("WhisperEndpoints are not served any more")
        now = await self._served()
        if now != self._served_at_start:
            changed = ", ".join(sorted(now ^ self._served_at_start))
            raise RestartRequired(f"the cluster has begun or ceased to serve {changed}")

    async def _served(self) -> frozenset[str]:
        return frozenset(
            [kind.kind for kind in kinds.OPTIONAL if await self._cluster.serves(kind.api_version, kind.kind)]
        )

    def _by_reason(self) -> dict[tuple[str, str], int]:
        counts: Counter[tuple[str, str]] = Counter()
        for key in self._store.endpoints():
            document = self._store.endpoint(key) or {}
            conditions = (document.get("status") or {}).get("conditions") or ()
            ready: Document = next((one for one in conditions if one["type"] == "Ready"), {})
            counts[ready.get("status", "Unknown"), ready.get("reason", "")] += 1
        return dict(counts)


async def _first_of(*parts: Coroutine[None, None, None]) -> None:
    """Run all until one ends; its error is ours."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
