"""A double of the Protocol `Cluster` in memory, which fails on purpose. It also implements the Protocols of leadership and resync.

It knows just enough: uids, resourceVersions, server-side apply of one manager, owner references. Real behaviour is tested
on the real API server, in tests/cluster.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import Kind
from whisper_operator.resource.fields import Document

Identity = tuple[str, str, str]
"""Kind, namespace, name."""

NO_ANSWER = ApiError(0, "TimeoutError", "no answer in time")
TOO_MANY = ApiError(429, "TooManyRequests", "slow down", retry_after_s=7)
SERVER_ERROR = ApiError(500, "InternalError", "etcd is away")
FORBIDDEN = ApiError(403, "Forbidden", "exceeded quota: pods")


class Killed(BaseException):
    """The operator was killed at this call."""


class MemoryCluster:
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[Identity, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str]] = []
        """Method, kind and name of each call, in order."""
        self.events: list[dict[str, str]] = []
        self.logs: dict[str, str] = {}
        """By the name of the pod."""
        self.served = {"WhisperEndpoint"}
        self.before: Callable[[str, str, str], None] = lambda method, kind, name: None
        """Called with each call, before its effect; what it raises is raised."""
        self.after: Callable[[str, str, str], None] = lambda method, kind, name: None
        """Likewise after its effect: the answer gets lost."""
        self.watch: Callable[[str, dict[str, Any]], None] = lambda type_, document: None
        """Called with each change, like kopf's handlers."""
        self._applied: dict[Identity, dict[str, Any]] = {}
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)

    def called(self, method: str) -> list[str]:
        """Kinds and names of the calls of a method."""
        return [f"{kind}/{name}" for what, kind, name in self.calls if what == method]

    def put(self, document: Document) -> dict[str, Any]:
        """Writes an object as another client would."""
        identity = _identity(document)
        old = self.objects.get(identity)
        new = copy.deepcopy(dict(document))
        kept = {} if old is None else {key: old["metadata"][key] for key in ("uid", "creationTimestamp")}
        born = {"uid": f"uid-{next(self._uids)}", "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 1}
        new["metadata"] = {**born, **new["metadata"], **kept, "resourceVersion": str(next(self._versions))}
        self.objects[identity] = new
        self.watch("ADDED" if old is None else "MODIFIED", copy.deepcopy(new))
        return copy.deepcopy(new)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object and the objects that it owns."""
        gone = self.objects.pop((kind, namespace, name))
        self._applied.pop((kind, namespace, name), None)
        self.watch("DELETED", copy.deepcopy(gone))
        for identity, document in list(self.objects.items()):
            owners = [owner["uid"] for owner in document["metadata"].get("ownerReferences", ())]
            if owners == [gone["metadata"]["uid"]] and identity in self.objects:
                self.remove(*identity)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        return [document for identity, document in sorted(self.objects.items()) if identity[0] == kind]

    async def apply(self, document: Document) -> dict[str, Any]:
        answer: dict[str, Any] = self._call("apply", document, lambda: self._apply(document))
        return answer

    async def correct(self, live: Document, patch: Document) -> dict[str, Any]:
        def effect() -> dict[str, Any]:
            there = self.objects[_identity(live)]
            if there["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", "it was changed")
            return self.put(patched(there, patch))

        answer: dict[str, Any] = self._call("correct", live, effect)
        return answer

    async def apply_status(self, document: Document) -> dict[str, Any]:
        answer: dict[str, Any] = self._call("apply_status", document, lambda: self._apply_status(document))
        return answer

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        asked = {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        found: dict[str, Any] | None = self._call(
            "get", asked, lambda: copy.deepcopy(self.objects.get((kind, namespace, name)))
        )
        return found

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = "", field_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        asked = {"kind": kind, "metadata": {"namespace": namespace, "name": field_selector}}
        found: Sequence[dict[str, Any]] = self._call("list", asked, lambda: self._listed(kind, namespace))
        return found

    async def log_tail(self, pod: Document, container: str, n_lines: int) -> str:
        log: str = self._call("log_tail", pod, lambda: self.logs.get(pod["metadata"]["name"], ""))
        return log

    async def pages(
        self, kind: Kind, namespace: str, label_selector: str, *, metadata_only: bool = False
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        for found in await self.list(kind.api_version, kind.kind, namespace):
            yield [{"metadata": found["metadata"]} if metadata_only else found]

    async def delete(self, document: Document) -> None:
        def effect() -> None:
            there = self.objects.get(_identity(document))
            if there is not None and there["metadata"]["uid"] == document["metadata"]["uid"]:
                self.remove(*_identity(document))

        self._call("delete", document, effect)

    async def serves(self, api_version: str, kind: str) -> bool:
        answer: bool = self._call("serves", {"kind": kind, "metadata": {"name": ""}}, lambda: kind in self.served)
        return answer

    async def record_event(self, regarding: Document, *, type_: str, reason: str, message: str, action: str) -> None:
        self.events.append({"type": type_, "reason": reason, "message": message, "action": action})

    async def create(self, document: Document) -> dict[str, Any]:
        def effect() -> dict[str, Any]:
            if _identity(document) in self.objects:
                raise ApiError(409, "AlreadyExists", "it is there")
            return self.put(document)

        created: dict[str, Any] = self._call("create", document, effect)
        return created

    async def replace(self, document: Document) -> dict[str, Any]:
        def effect() -> dict[str, Any]:
            there = self.objects.get(_identity(document))
            if there is None:
                raise ApiError(404, "NotFound", "it is not there")
            if there["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", "it was changed")
            return self.put(document)

        replaced: dict[str, Any] = self._call("replace", document, effect)
        return replaced

    def _call(self, method: str, document: Document, effect: Callable[[], Any]) -> Any:
        kind, name = document["kind"], document["metadata"]["name"]
        self.calls.append((method, kind, name))
        self.before(method, kind, name)
        answer = effect()
        self.after(method, kind, name)
        return answer

    def _apply(self, document: Document) -> dict[str, Any]:
        identity = _identity(document)
        old = self.objects.get(identity)
        desired = copy.deepcopy(dict(document))
        uid = desired["metadata"].pop("uid", None)
        if uid is not None and (old is None or old["metadata"]["uid"] != uid):
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        new = merged(without(old or {}, self._applied.get(identity, {}), desired), desired)
        self._applied[identity] = desired
        return copy.deepcopy(old) if old is not None and new == old else self.put(new)

    def _apply_status(self, document: Document) -> dict[str, Any]:
        old = self.objects.get(_identity(document))
        if old is None:
            raise ApiError(404, "NotFound", "it is not there")
        if document["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        new = {**old, "status": copy.deepcopy(document["status"])}
        return copy.deepcopy(old) if new == old else self.put(new)

    def _listed(self, kind: str, namespace: str) -> Sequence[dict[str, Any]]:
        return copy.deepcopy([one for one in self.all_of(kind) if namespace in ("", one["metadata"].get("namespace"))])


def merged(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}
    return copy.deepcopy(over)


def patched(live: Any, patch: Any) -> Any:
    """As RFC 7396 says."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    under = live if isinstance(live, dict) else {}
    kept = {key: value for key, value in under.items() if patch.get(key, value) is not None}
    return {**kept, **{key: patched(under.get(key), value) for key, value in patch.items() if value is not None}}


def without(live: Any, applied: Any, desired: Any) -> Any:
    """Removes fields that were applied before and are no longer desired."""
    if not (isinstance(live, dict) and isinstance(applied, dict)):
        return live
    desired_keys = desired if isinstance(desired, dict) else {}
    gone = {key for key in applied if key not in desired_keys}
    return {
        key: without(value, applied.get(key), desired_keys.get(key)) for key, value in live.items() if key not in gone
    }


def _identity(document: Document) -> Identity:
    return document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"]
