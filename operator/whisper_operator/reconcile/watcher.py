"""The source of watch events: kopf lists and watches, and its handlers put the objects into the store.

Kopf is used for nothing else. There are only `on.event` handlers: they need no finalizer, leave no annotation, and kopf
patches nothing. It does not scan CRDs or namespaces, because the kinds are known at start. Its session is ours (see
`watch_meter`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, cast

import aiohttp
import kopf
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, TCPConnector
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from whisper_operator.cluster.connection import Connection
from whisper_operator.kinds import ENDPOINT, Kind
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.resync import selector_of
from whisper_operator.reconcile.store import Identity, Key, Store
from whisper_operator.reconcile.watch_meter import WatchMeter

log = logging.getLogger(__name__)

PEER = "whisper-operator"
"""Kopf's peering identity, which no other operator reads. Without it kopf looks up the user's name, and the image's user
has none."""
STOP_S = 2.0
RETRY_S = (0.5, 1, 1, 2, 2, 3, 3) + (5,) * 60
"""Delays between kopf's attempts at a request: an API server may be away for minutes."""


class Watcher:
    """Watches some kinds in some namespaces (none: all) until cancelled."""

    def __init__(
        self,
        connection: Connection,
        store: Store,
        metrics: Metrics,
        meter: WatchMeter,
        *,
        kinds: Sequence[Kind],
        namespaces: Sequence[str],
        enqueue: Callable[[Key], None],
    ) -> None:
        self._connection = connection
        self._store = store
        self._metrics = metrics
        self._meter = meter
        self._kinds = kinds
        self._namespaces = namespaces
        self._enqueue = enqueue
        self._generation: int | None = None

    async def run(self, started: Callable[[], object]) -> None:
        """Runs until an error or cancellation. `started` is called once kopf has installed its own signal handlers."""
        self._meter.expect(kind.path(namespace) for kind in self._kinds for namespace in self._namespaces or [""])
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._settings(),
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            standalone=True,
            identity=cast("Any", PEER),
            memories=NoMemories(),
        )
        started()
        # Not kopf.run_tasks: it would also cancel tasks that are not kopf's.
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise RuntimeError("kopf stopped by itself")
        finally:
            await _cancel(tasks)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(id="login", registry=registry)(self._login)
        for kind in self._kinds:
            register = kopf.on.event(
                group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry
            )
            register(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Awaitable[None]]:
        counter = self._metrics.watch_events.labels(kind.kind)

        async def on_event(event: dict[str, Any], **_: object) -> None:
            counter.inc()
            document = event["object"]
            if event["type"] == "DELETED":
                metadata = document["metadata"]
                identity = Identity(kind.kind, metadata.get("namespace", ""), metadata["name"])
                affected = self._store.remove(identity, metadata["uid"], metadata.get("resourceVersion", ""))
            else:
                document.setdefault("apiVersion", kind.api_version)
                document.setdefault("kind", kind.kind)
                affected = self._store.put(document)
            for key in affected:
                self._enqueue(key)

        return on_event

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.process.ultimate_exiting_timeout = None
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 310
        settings.watching.connect_timeout = 10
        settings.watching.inactivity_timeout = 70
        settings.watching.chunk_size = 250
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 10
        settings.networking.error_backoffs = RETRY_S
        settings.queueing.idle_timeout = 0.05
        settings.queueing.exit_timeout = 0.5
        for kind in self._kinds:
            if kind != ENDPOINT:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector_of(kind)
        return settings

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        """Kopf calls it at start and after each 401."""
        connection = self._connection
        if self._generation is not None:
            await connection.load(refused=self._generation)
        self._generation = connection.generation

        async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            request.headers.update(await connection.headers())
            if connection.server_name:
                request.server_hostname = connection.server_name
            return await handler(request)

        session = aiohttp.ClientSession(
            connector=TCPConnector(limit=0, ssl=connection.ssl_context),
            response_class=self._meter.response_class(),
            middlewares=(authorize,),
            proxy=connection.proxy,
        )
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=STOP_S)
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            log.debug("kopf's task %s ended with %r", task.get_name(), task.exception())


class NoMemories(ResourceMemories):
    """Keeps nothing of an object between its events. Kopf's own keeps 930 bytes of each, 9 MB of a thousand endpoints."""

    async def recall(self, raw_body: kopf.RawBody, **more: Any) -> ResourceMemory:
        return await super().recall(raw_body, **{**more, "ephemeral": True})


class NoDiffBase(kopf.DiffBaseStorage):
    """Turns off kopf's diff against the previous version of an object, which no handler uses."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass
