"""The controller that the leader runs: store, watches, work queue and resync, composed and kept running.

It ends only by an error, by cancellation, or by RestartRequired. It makes no decisions about endpoints.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress

from whisper_operator import kinds
from whisper_operator.cluster.api import KubernetesCluster
from whisper_operator.cluster.connection import Connection
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.metrics import EndpointState, Metrics
from whisper_operator.reconcile.reconciler import Reconciler
from whisper_operator.reconcile.resync import Resync
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.reconcile.watch_meter import WatchMeter
from whisper_operator.reconcile.watcher import Watcher
from whisper_operator.reconcile.work_queue import WorkQueue
from whisper_operator.settings import Settings

log = logging.getLogger(__name__)

KINDS_POLL_S = 10.0
COMPARE_EVERY_RESYNCS = 5


class RestartRequired(Exception):
    """The cluster now serves other kinds than at start."""


class Controller:
    """Everything that runs while this operator is the leader."""

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
            *kinds.OBSERVED,
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
        reconciler.image_turns.resume()
        for key in self._store.endpoints():
            on_change(key)
        fields = {"endpoints": queue.depth, "seconds": round(time.monotonic() - started_s, 1)}
        log.info("caches synced", extra={"fields": fields})
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
        self._metrics.watch_endpoints(self._states)
        await run_until_first_ends(
            queue.run(self._settings.workers),
            self._watch(watcher, kopf_started),
            self._resync_endpoints(queue, reconciler),
            self._compare_store(resync, on_change),
            self._poll_kinds(),
        )

    async def _watch(self, watcher: Watcher, kopf_started: Callable[[], None]) -> None:
        try:
            await watcher.run(kopf_started)
        # Kopf fails when a kind is no longer served: then restart. Any other failure ends the process as an error.
        except Exception:
            await self._check_kinds()
            raise

    async def _resync_endpoints(self, queue: WorkQueue[Key], reconciler: Reconciler) -> None:
        """Enqueues every endpoint once per resync period, evenly spread."""
        period_s = self._settings.drift_seconds
        while True:
            keys = list(self._store.endpoints())
            reconciler.reader.forget_old()
            for number, key in enumerate(keys):
                queue.add_after(key, period_s * (number + 1) / len(keys))
            await asyncio.sleep(period_s)

    async def _compare_store(self, resync: Resync, on_change: Callable[[Key], None]) -> None:
        while True:
            await asyncio.sleep(COMPARE_EVERY_RESYNCS * self._settings.drift_seconds)
            try:
                for key in await resync.compare():
                    on_change(key)
            except ApiError as error:
                log.warning("resync failed: %s", error)

    async def _poll_kinds(self) -> None:
        while True:
            await asyncio.sleep(KINDS_POLL_S)
            with suppress(ApiError):
                await self._check_kinds()

    async def _check_kinds(self) -> None:
        if not await self._cluster.serves(kinds.ENDPOINT.api_version, kinds.ENDPOINT.kind):
            raise RestartRequired("the cluster no longer serves WhisperEndpoints")
        now = await self._served()
        if now != self._served_at_start:
            changed = ", ".join(sorted(now ^ self._served_at_start))
            raise RestartRequired(f"the cluster started or stopped serving {changed}")

    async def _served(self) -> frozenset[str]:
        return frozenset(
            [kind.kind for kind in kinds.OPTIONAL if await self._cluster.serves(kind.api_version, kind.kind)]
        )

    def _states(self) -> Iterator[EndpointState]:
        for key, ready in self._store.readiness().items():
            yield EndpointState(*key, *ready)


async def run_until_first_ends(*parts: Coroutine[None, None, None]) -> None:
    """Runs all until one ends, cancels the others, and raises its error."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
