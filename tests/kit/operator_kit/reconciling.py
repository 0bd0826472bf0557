"""A reconciler on a cluster in memory: restarted at will, with a clock that is set by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from operator_kit.endpoints import make_endpoint
from operator_kit.memory_cluster import Killed, MemoryCluster
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.reconciler import Reconciler
from whisper_operator.reconcile.store import Identity, Key, Store
from whisper_operator.reconcile.work_queue import Result
from whisper_operator.settings import Settings

SETTINGS = Settings(server_image_gpu="registry.test/gpu:1", server_image_cpu="registry.test/cpu:1")
KEY = Key("team-a", "speech")
CPU = {"gpu": {"class": "none"}}
START = datetime(2026, 1, 2, 4, tzinfo=UTC)


class Bench:
    """The cluster stays; store and reconciler are new after each restart."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.cluster = MemoryCluster()
        self.settings = settings
        self.elapsed_s = 1000.0
        self.metrics = Metrics()
        self.restart()

    def restart(self) -> None:
        self.store = Store()
        self.metrics = Metrics()
        self.enqueued: list[Key] = []
        self.reconciler = Reconciler(
            cluster=self.cluster,
            store=self.store,
            settings=self.settings,
            metrics=self.metrics,
            served_kinds=frozenset(),
            enqueue=self.enqueued.append,
            clock=lambda: self.elapsed_s,
            now=lambda: START + timedelta(seconds=self.elapsed_s),
        )
        self.cluster.watch = self._see
        for document in self.cluster.objects.values():
            self._see("ADDED", document)

    def _see(self, type_: str, document: dict[str, Any]) -> None:
        metadata = document["metadata"]
        if type_ == "DELETED":
            identity = Identity(document["kind"], metadata["namespace"], metadata["name"])
            affected = self.store.remove(identity, metadata["uid"], metadata["resourceVersion"])
        elif document["kind"] == "WhisperEndpoint" or "app.kubernetes.io/managed-by" in metadata.get("labels", {}):
            affected = self.store.put(document)
        else:
            return
        for key in affected:
            self.reconciler.route_conflicts.update(key)

    def ask(self, spec: dict[str, Any] | None = None, key: Key = KEY, **metadata: Any) -> dict[str, Any]:
        """As a user: apply a WhisperEndpoint."""
        old = self.cluster.objects.get(("WhisperEndpoint", *key))
        document = make_endpoint({**CPU, **(spec or {})}, name=key.name, namespace=key.namespace, **metadata)
        if old is not None:
            document["metadata"]["generation"] = old["metadata"]["generation"] + 1
            document["status"] = old.get("status", {})
        return self.cluster.put(document)

    async def reconcile(self, key: Key = KEY) -> Result:
        return await self.reconciler.reconcile(key)

    async def settle(self, key: Key = KEY) -> Result:
        """Reconciles until two runs in a row write nothing; the last result."""
        for _ in range(20):
            n_calls = len(self.written())
            result = await self.reconcile(key)
            if len(self.written()) == n_calls and not result.failed:
                return result
        raise AssertionError(f"it never settles: {self.written()[-12:]}")

    async def settle_or_be_killed(self, key: Key = KEY) -> bool:
        try:
            await self.settle(key)
        except Killed:
            self.restart()
            return False
        return True

    def written(self) -> list[tuple[str, str, str]]:
        """Calls that could change something, in order."""
        return [call for call in self.cluster.calls if call[0] not in ("get", "list", "serves")]

    def endpoint(self, key: Key = KEY) -> dict[str, Any]:
        return self.cluster.objects["WhisperEndpoint", key.namespace, key.name]

    def conditions(self, key: Key = KEY) -> dict[str, Any]:
        return {one["type"]: one for one in self.endpoint(key).get("status", {}).get("conditions", ())}

    def children(self) -> dict[str, dict[str, Any]]:
        """By kind and name, without what the server assigns."""
        given_out = ("uid", "resourceVersion", "creationTimestamp", "generation")
        found = {}
        for (kind, _, name), document in sorted(self.cluster.objects.items()):
            if kind != "WhisperEndpoint":
                metadata = {key: value for key, value in document["metadata"].items() if key not in given_out}
                metadata["ownerReferences"] = [{**one, "uid": ""} for one in metadata.get("ownerReferences", ())]
                found[f"{kind}/{name}"] = {**document, "metadata": metadata}
        return found
