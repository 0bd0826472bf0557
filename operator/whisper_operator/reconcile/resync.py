"""Fills the store at start, and compares it with the cluster from time to time.

Watches are not enough: if an object is deleted while a watch is down and the server has dropped that event, nothing
reports it. The comparison lists metadata only; a difference gets time to arrive as an event, and is then read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from whisper_operator import names
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import ENDPOINT, Kind
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.store import Identity, Key, Store, is_newer

log = logging.getLogger(__name__)

LIST_AGAIN_S = 1.0
SETTLE_S = 5.0
"""How late an event may arrive."""
OURS = f"{names.MANAGED_BY_LABEL}={names.FIELD_MANAGER}"


def selector_of(kind: Kind) -> str:
    """Label selector of what is watched of a kind."""
    return "" if kind == ENDPOINT else OURS


class Lister(Protocol):
    """Lists page by page; see `cluster`."""

    def pages(
        self, kind: Kind, namespace: str, label_selector: str, *, metadata_only: bool = False
    ) -> AsyncIterator[Sequence[dict[str, Any]]]: ...

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None: ...


class Resync:
    """Fills and compares, for some kinds in some namespaces ('' is all)."""

    def __init__(
        self,
        cluster: Lister,
        store: Store,
        metrics: Metrics,
        *,
        kinds: Sequence[Kind],
        namespaces: Sequence[str],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._metrics = metrics
        self._kinds = kinds
        self._namespaces = namespaces or [""]
        self._sleep = sleep

    async def fill(self) -> None:
        """Lists everything into the store. Temporary errors are retried: a new CRD is served before it can be listed."""
        for kind in self._kinds:
            for namespace in self._namespaces:
                while not await self._filled(kind, namespace):
                    pass

    async def _filled(self, kind: Kind, namespace: str) -> bool:
        try:
            async for page in self._cluster.pages(kind, namespace, selector_of(kind)):
                for document in page:
                    self._store.put(document)
        except ApiError as error:
            if 400 <= error.code < 500 and error.code not in (410, 429):  # 410: the list expired between two pages
                raise
            log.warning("cannot list %s yet: %s", kind.plural, error)
            await self._sleep(error.retry_after_s or LIST_AGAIN_S)
            return False
        return True

    async def compare(self) -> set[Key]:
        """Corrects what no event reported; returns the affected endpoints."""
        affected: set[Key] = set()
        for kind in self._kinds:
            suspects = await self._suspects(kind)
            if suspects:
                await self._sleep(SETTLE_S)
                for identity in [one for one, listed in suspects.items() if self._differs(one, listed)]:
                    affected |= await self._correct(kind, identity)
        return affected

    async def _suspects(self, kind: Kind) -> dict[Identity, tuple[str, str] | None]:
        """Objects that differ between store and list, with uid and version from the list; None if the list lacks it."""
        listed: dict[Identity, tuple[str, str]] = {}
        for namespace in self._namespaces:
            async for page in self._cluster.pages(kind, namespace, selector_of(kind), metadata_only=True):
                listed |= _versions(kind, page)
        suspects: dict[Identity, tuple[str, str] | None] = {}
        for identity in listed.keys() | self._store.of_kind(kind.kind).keys():
            if self._differs(identity, listed.get(identity)):
                suspects[identity] = listed.get(identity)
        return suspects

    def _differs(self, identity: Identity, listed: tuple[str, str] | None) -> bool:
        held = self._store.cached(*identity)
        if held is None or listed is None:
            return (held is None) != (listed is None)
        uid, version = listed
        return held.uid != uid or is_newer(version, held.version)

    async def _correct(self, kind: Kind, identity: Identity) -> set[Key]:
        held = self._store.cached(*identity)
        found = await self._cluster.get(kind.api_version, kind.kind, identity.namespace, identity.name)
        if found is not None and not _is_watched(kind, found):
            found = None
        affected: set[Key] = set()
        if held is not None and (found is None or found["metadata"]["uid"] != held.uid):
            affected |= self._store.remove(identity, held.uid, held.version)
        if found is not None:
            affected |= self._store.put(found)
        if affected:
            self._metrics.missed_events.labels(kind.kind).inc()
            log.info("resync found a missed change", extra={"fields": identity._asdict()})
        return affected


def _versions(kind: Kind, page: Iterable[dict[str, Any]]) -> dict[Identity, tuple[str, str]]:
    return {
        Identity(kind.kind, metadata.get("namespace", ""), metadata["name"]): (
            metadata["uid"],
            metadata["resourceVersion"],
        )
        for metadata in (item["metadata"] for item in page)
    }


def _is_watched(kind: Kind, document: dict[str, Any]) -> bool:
    labels = document["metadata"].get("labels") or {}
    return kind == ENDPOINT or labels.get(names.MANAGED_BY_LABEL) == names.FIELD_MANAGER
