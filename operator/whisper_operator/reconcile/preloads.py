"""Preloading a model: the Jobs of an endpoint, how far the newest one is, and a Deployment that keeps its pods until then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from whisper_operator import manifests, names
from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import DEPLOYMENT, JOB
from whisper_operator.reconcile.apply import Applier, ApplyResult
from whisper_operator.reconcile.snapshot_builder import is_owned
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.snapshot import ChildKey, PreloadState

LOG_LINES = 5


class Preloads:
    """What the reconciler knows of them."""

    def __init__(self, cluster: Cluster, store: Store, applier: Applier) -> None:
        self._cluster = cluster
        self._store = store
        self._applier = applier

    def jobs(self, endpoint: Endpoint) -> list[Document]:
        found = self._store.children(Key(endpoint.namespace, endpoint.name))
        return [child for key, child in found.items() if key.kind == JOB.kind and is_owned(child, endpoint.uid)]

    async def apply(
        self, endpoint: Endpoint, children: Sequence[dict[str, Any]], deployed: Document | None
    ) -> ApplyResult:
        """Applies the children. Without a Deployment among them, the one that there is stays as it is but for the number of pods."""
        if deployed is None or any(child["kind"] == DEPLOYMENT.kind for child in children):
            return await self._applier.apply_children(endpoint, children)
        kept = ChildKey(DEPLOYMENT.kind, names.child_name(endpoint.name))
        result = await self._applier.apply_children(endpoint, children, [kept])
        n_pods = manifests.held_replicas(endpoint, deployed)
        if is_owned(deployed, endpoint.uid) and deployed["spec"].get("replicas") != n_pods:
            self._store.put(await self._cluster.correct(deployed, {"spec": {"replicas": n_pods}}))
        return result

    async def state(self, endpoint: Endpoint, deployed: Document | None) -> PreloadState | None:
        """None: pods wait for no preload."""
        if not manifests.waits_for_preload(endpoint, deployed, self.jobs(endpoint)):
            return None
        pods = self._store.preload_pods(Key(endpoint.namespace, endpoint.name))
        fetched, total = await self._progress(pods[-1]) if pods else (0, 0)
        return PreloadState(pods=pods, fetched_bytes=fetched, total_bytes=total)

    async def _progress(self, pod: Document) -> tuple[int, int]:
        if pod.get("status", {}).get("phase") != "Running":
            return 0, 0
        try:
            return progress_in(await self._cluster.log_tail(pod, names.CONTAINER, LOG_LINES))
        except ApiError as error:
            if error.code in (401, 429):
                raise
            return 0, 0  # it has not started yet, is gone, its node does not answer, or there is no right to read it


def progress_in(log: str) -> tuple[int, int]:
    """Bytes that are fetched, and bytes that are to be fetched, by the last line that has them; (0, 0): none has."""
    for line in reversed(log.splitlines()):
        try:
            record = json.loads(line)
            return int(record["fetched_bytes"]), int(record["total_bytes"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0, 0
