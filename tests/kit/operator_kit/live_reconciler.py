"""A reconciler in this process on a real API server, and edits of its children by hand: one reconcile at a time.

The store is compared with the cluster before each reconcile, so that no watch is waited for. The clock is set by hand: a back-off
against another writer has always passed.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from operator_kit.generated_edits import Edit, edited
from whisper_operator import kinds, manifests
from whisper_operator.cluster.api import KubernetesCluster
from whisper_operator.cluster.connection import Connection
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import Kind, kind_of
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.apply import DELETION_POLL_S
from whisper_operator.reconcile.reconciler import Reconciler
from whisper_operator.reconcile.resync import Resync
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.reconcile.work_queue import Result
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.settings import Settings

Document = dict[str, Any]
SETTINGS = Settings(server_image_gpu="registry.test/gpu:1", server_image_cpu="registry.test/cpu:1", missing_seconds=5)
VOLATILE = ("resourceVersion", "generation", "managedFields", "creationTimestamp")
OF_CONTROLLERS = ("deployment.kubernetes.io/", "pv.kubernetes.io/", "volume.")
COPIED_TO_JOBS = ("batch.kubernetes.io/", "controller-uid", "job-name", "whisper-operator.io/preload")
"""The API server gives a Job without labels those of its template."""
PASSED_S = 1000.0
REFUSED = (400, 422, 500)
"""500: two ports with the same node port."""
N_TRIES = 10
"""Controllers write, too."""


class LiveReconciler:
    """See `live_reconciler`."""

    def __init__(self, api: KubernetesCluster, key: Key, served: frozenset[str]) -> None:
        self.api = api
        self.key = key
        self._served = served
        self._elapsed_s = PASSED_S
        self._store = Store()
        self._metrics = Metrics()
        self._reconciler = Reconciler(
            cluster=api,
            store=self._store,
            settings=SETTINGS,
            metrics=self._metrics,
            served_kinds=served,
            enqueue=lambda key: None,
            clock=lambda: self._elapsed_s,
        )

    async def reconcile(self) -> None:
        """With all that the cluster has by now; again where a controller has written meanwhile."""
        for _ in range(N_TRIES):
            result = await self._once()
            if not result.failed and result.requeue_after_s != DELETION_POLL_S:
                return

    async def _once(self) -> Result:
        self._elapsed_s += PASSED_S
        await self._resync(_at_once).compare()
        return await self._reconciler.reconcile(self.key)

    async def fill(self) -> None:
        """Waits until a new kind can be listed."""
        await self._resync(asyncio.sleep).fill()

    def _resync(self, sleep: Callable[[float], Awaitable[object]]) -> Resync:
        watched = (kinds.ENDPOINT, *kinds.OBSERVED, *self._children())
        namespaces = [self.key.namespace]
        return Resync(self.api, self._store, self._metrics, kinds=watched, namespaces=namespaces, sleep=sleep)

    def _children(self) -> list[Kind]:
        return [kind for kind in kinds.CHILDREN if kind not in kinds.OPTIONAL or kind.kind in self._served]

    async def endpoint(self) -> Document:
        found = await self.api.get(kinds.ENDPOINT.api_version, kinds.ENDPOINT.kind, *self.key)
        assert found is not None
        return found

    async def desired(self) -> list[Document]:
        """What the operator writes, before it knows a class or a pinned template."""
        return list(
            manifests.make_children(
                parse_endpoint(await self.endpoint()), SETTINGS, served_kinds=self._served, ingress_controller="contour"
            )
        )

    async def live(self, child: Document) -> Document:
        about = child["metadata"]
        found = await self.api.get(child["apiVersion"], child["kind"], about["namespace"], about["name"])
        assert found is not None, f"{child['kind']} {about['name']} is gone"
        return found

    async def accepted(self, live: Document, edit: Edit) -> Any:
        """The first candidate that the API server would take; None: it takes none."""
        for value in edit.candidates:
            changed = edit.applied_to(live, value)
            if await self._is_taken(changed, live):
                return value
        return None

    async def _is_taken(self, changed: Document, live: Document) -> bool:
        """Whether the API server takes the document, and has something else then."""
        for _ in range(N_TRIES):
            try:
                after = await self._put(changed, dry_run=True)
            except ApiError as error:
                if error.code in REFUSED:
                    return False
                if error.code != 409:
                    raise
                version = (await self.live(live))["metadata"]["resourceVersion"]
                changed = {**changed, "metadata": {**changed["metadata"], "resourceVersion": version}}
            else:
                return steady(after) != steady(live)
        raise AssertionError(f"{live['kind']} changes all the time")

    async def edit(self, child: Document, batch: list[tuple[Edit, Any]]) -> bool:
        """Applies a batch; False: the API server refuses these edits together."""
        for _ in range(N_TRIES):
            try:
                await self._put(edited(await self.live(child), batch))
            except ApiError as error:
                if error.code == 409:  # a controller was faster
                    continue
                if error.code in REFUSED:
                    return False
                raise
            return True
        raise AssertionError(f"{child['kind']} changes all the time")

    async def restore(self, child: Document, before: Document) -> None:
        """As it was, by hand: after edits that the operator only names."""
        for _ in range(N_TRIES):
            version = (await self.live(child))["metadata"]["resourceVersion"]
            try:
                await self._put({**before, "metadata": {**before["metadata"], "resourceVersion": version}})
            except ApiError as error:
                if error.code != 409:
                    raise
            else:
                return

    async def _put(self, document: Document, *, dry_run: bool = False) -> Document:
        about = document["metadata"]
        path = kind_of(document["apiVersion"], document["kind"]).path(about["namespace"], about["name"])
        query = {"fieldManager": "by-hand", **({"dryRun": "All"} if dry_run else {})}
        return await self.api._ask("PUT", path, query, document)


async def _at_once(delay_s: float) -> None:
    """Instead of waiting for events."""


def steady(document: Document) -> Document:
    """Without what each write changes and what controllers add."""
    found = {key: value for key, value in copy.deepcopy(document).items() if key != "status"}
    found["metadata"] = {key: value for key, value in found["metadata"].items() if key not in VOLATILE}
    notes = found["metadata"].pop("annotations", {})
    kept = {key: value for key, value in notes.items() if not key.startswith(OF_CONTROLLERS)}
    labels = found["metadata"].pop("labels", {})
    if found["kind"] == "Job":
        labels = {key: value for key, value in labels.items() if not key.startswith(COPIED_TO_JOBS)}
    return {**found, "metadata": {**found["metadata"], "annotations": kept, "labels": labels}}


@asynccontextmanager
async def live_reconciler(kubeconfig: Path, key: Key, served: frozenset[str]) -> AsyncIterator[LiveReconciler]:
    connection = Connection(str(kubeconfig), "", 4)
    await connection.load()
    try:
        yield LiveReconciler(KubernetesCluster(connection, Metrics(), "test"), key, served)
    finally:
        await connection.close()
