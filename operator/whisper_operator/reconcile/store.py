"""The cache of endpoints, their children and their pods.

Documents are stored as JSON text with the fields that `kept_fields` names (a thousand endpoints take tens of megabytes) and
parsed on request. Older versions are ignored, so that events, lists and answers may arrive in any order. No API calls here.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from whisper_operator import names
from whisper_operator.kinds import ENDPOINT, ENDPOINT_SLICE, OBSERVED, POD, Kind
from whisper_operator.reconcile.kept_fields import kept_fields
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey


class Key(NamedTuple):
    """An endpoint."""

    namespace: str
    name: str


class Identity(NamedTuple):
    """Kind, namespace and name of an object."""

    kind: str
    namespace: str
    name: str


class CachedObject(NamedTuple):
    """An object in its latest known version."""

    uid: str
    version: str
    owner: Key | None
    packed: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.packed)
        if self.version:
            found["metadata"]["resourceVersion"] = self.version
        return found


class Readiness(NamedTuple):
    """The condition Ready of an endpoint."""

    status: str
    reason: str


GONE_REMEMBERED = 4096
NO_CHILDREN = frozenset(kind.kind for kind in (ENDPOINT, *OBSERVED))


class Store:
    """Every watched object."""

    def __init__(self) -> None:
        self._objects: dict[Identity, CachedObject] = {}
        self._of: defaultdict[Key, set[Identity]] = defaultdict(set)
        self._changes: defaultdict[Key, int] = defaultdict(int)
        self._readiness: dict[Key, Readiness] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()

    def put(self, document: Document) -> set[Key]:
        """Stores the object if it is newer. Returns the affected endpoints; none if no field that is kept is new."""
        metadata = document["metadata"]
        identity = Identity(document["kind"], metadata.get("namespace", ""), metadata["name"])
        uid, version = metadata.get("uid", ""), metadata.get("resourceVersion", "")
        old = self._objects.get(identity)
        last = self._gone.get(uid) if old is None or old.uid != uid else old.version
        if last is not None and not is_newer(version, last):
            return set()
        packed = json.dumps(kept_fields(document), separators=(",", ":")).encode()
        new = CachedObject(uid, version, owner_of(document), packed)
        if old is not None and old.packed == packed:
            self._objects[identity] = new
            return set()
        if identity.kind == ENDPOINT.kind:
            self._readiness[Key(identity.namespace, identity.name)] = readiness_of(document)
        return self._replace(identity, new)

    def remove(self, identity: Identity, uid: str, version: str) -> set[Key]:
        """Removes an object that was deleted, or lost our labels, at this version. Returns the affected endpoints."""
        self._gone[uid] = version
        if len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)
        old = self._objects.get(identity)
        if old is None or old.uid != uid:
            return set()
        if identity.kind == ENDPOINT.kind:
            del self._readiness[Key(identity.namespace, identity.name)]
        return self._replace(identity, None)

    def _replace(self, identity: Identity, new: CachedObject | None) -> set[Key]:
        old = self._objects.pop(identity, None)
        affected: set[Key] = set()
        if old is not None and old.owner is not None:
            affected.add(old.owner)
            self._of[old.owner].discard(identity)
            if not self._of[old.owner]:
                del self._of[old.owner]
        if new is not None:
            self._objects[identity] = new
            if new.owner is not None:
                affected.add(new.owner)
                self._of[new.owner].add(identity)
        for key in affected:
            self._changes[key] += 1
        return affected

    def changes(self, key: Key) -> int:
        """Counter of changes to an endpoint and its objects."""
        return self._changes[key]

    def forget(self, key: Key) -> None:
        """Drops the counter of an endpoint that has no objects left."""
        if key not in self._of:
            self._changes.pop(key, None)

    def endpoints(self) -> Iterator[Key]:
        """All endpoints."""
        yield from list(self._readiness)

    def readiness(self) -> Mapping[Key, Readiness]:
        """Of all endpoints, without parsing any: metrics need it at every scrape."""
        return self._readiness

    def endpoint(self, key: Key) -> dict[str, Any] | None:
        cached = self._objects.get(Identity(ENDPOINT.kind, *key))
        return None if cached is None else cached.document

    def cached(self, kind: str, namespace: str, name: str) -> CachedObject | None:
        return self._objects.get(Identity(kind, namespace, name))

    def children(self, key: Key) -> dict[ChildKey, dict[str, Any]]:
        """Objects of an endpoint of this name, by owner reference or else by label, without what Kubernetes made of them."""
        found = sorted(identity for identity in self._of.get(key, ()) if identity.kind not in NO_CHILDREN)
        return {ChildKey(one.kind, one.name): self._objects[one].document for one in found}

    def pods(self, key: Key) -> tuple[dict[str, Any], ...]:
        """Those that serve, oldest first."""
        return tuple(pod for pod in self._made_of(key, POD) if not _preloads(pod))

    def preload_pods(self, key: Key) -> tuple[dict[str, Any], ...]:
        """Those that fetch a model into the cache's volume, oldest first."""
        return tuple(pod for pod in self._made_of(key, POD) if _preloads(pod))

    def slices(self, key: Key) -> tuple[dict[str, Any], ...]:
        """EndpointSlices of the Service, which have its labels."""
        return self._made_of(key, ENDPOINT_SLICE)

    def _made_of(self, key: Key, kind: Kind) -> tuple[dict[str, Any], ...]:
        found = [self._objects[one].document for one in self._of.get(key, ()) if one.kind == kind.kind]
        return tuple(
            sorted(found, key=lambda one: (one["metadata"].get("creationTimestamp", ""), one["metadata"]["name"]))
        )

    def of_kind(self, kind: str) -> Mapping[Identity, CachedObject]:
        """All objects of a kind."""
        return {identity: cached for identity, cached in self._objects.items() if identity.kind == kind}


def is_newer(version: str, than: str) -> bool:
    """Compares resourceVersions as numbers; a version that is not a number counts as newer if it differs."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def readiness_of(endpoint: Document) -> Readiness:
    conditions = (endpoint.get("status") or {}).get("conditions") or ()
    ready: Document = next((one for one in conditions if one["type"] == "Ready"), {})
    return Readiness(ready.get("status", "Unknown"), ready.get("reason", ""))


def owner_of(document: Document) -> Key | None:
    """The endpoint that an object belongs to; for an endpoint, itself."""
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "")
    if document["kind"] == ENDPOINT.kind:
        return Key(namespace, metadata["name"])
    reference = controller_of(document)
    if reference is not None and is_endpoint(reference):
        return Key(namespace, reference["name"])
    labels = metadata.get("labels") or {}
    label = labels.get(names.ENDPOINT_LABEL) or labels.get(names.PRELOAD_LABEL)
    return Key(namespace, label) if label else None


def _preloads(pod: Document) -> bool:
    return names.PRELOAD_LABEL in (pod["metadata"].get("labels") or {})


def controller_of(document: Document) -> Document | None:
    """The owner reference with controller: true."""
    references = document["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def is_endpoint(reference: Document) -> bool:
    group = str(reference.get("apiVersion", "")).partition("/")[0]
    return group == names.GROUP and reference.get("kind") == names.KIND
