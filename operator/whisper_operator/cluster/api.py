"""The Protocol `Cluster` on a real API server: server-side apply, reading, deleting.

Every request has a time limit. A refusal or a missing answer becomes an ApiError. Only a 401 is retried here, after the
credentials were read again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp

from whisper_operator import names
from whisper_operator.cluster.connection import Connection
from whisper_operator.cluster.events import EventLimits, event_document
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import EVENT, POD, Kind, kind_of
from whisper_operator.metrics import Metrics
from whisper_operator.resource.fields import Document

REQUEST_LIMIT_S = 10.0
PAGE = 500
MAX_LOG_BYTES = 16_384
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class KubernetesCluster:
    """See `cluster_protocol.Cluster`."""

    def __init__(
        self, connection: Connection, metrics: Metrics, identity: str, request_limit_s: float = REQUEST_LIMIT_S
    ) -> None:
        self._limit = aiohttp.ClientTimeout(total=request_limit_s, sock_connect=request_limit_s / 2)
        self._connection = connection
        self._metrics = metrics
        self._identity = identity
        self._event_limits = EventLimits()

    async def apply(self, document: Document) -> dict[str, Any]:
        return await self._apply(document, "", names.FIELD_MANAGER)

    async def correct(self, live: Document, patch: Document) -> dict[str, Any]:
        metadata = live["metadata"]
        path = _kind(live).path(metadata.get("namespace", ""), metadata["name"])
        body = {**patch, "metadata": {key: metadata[key] for key in ("uid", "resourceVersion")}}
        return await self._ask("PATCH", path, {"fieldManager": names.FIELD_MANAGER}, body, content_type=MERGE)

    async def apply_status(self, document: Document) -> dict[str, Any]:
        return await self._apply(document, "status", names.STATUS_FIELD_MANAGER)

    async def _apply(self, document: Document, subresource: str, manager: str) -> dict[str, Any]:
        metadata = document["metadata"]
        path = _kind(document).path(metadata.get("namespace", ""), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self._ask("PATCH", path, query, document, content_type=APPLY)

    async def create(self, document: Document) -> dict[str, Any]:
        """ApiError 409 AlreadyExists if it exists."""
        path = _kind(document).path(document["metadata"].get("namespace", ""))
        return await self._ask("POST", path, {"fieldManager": names.FIELD_MANAGER}, document)

    async def replace(self, document: Document) -> dict[str, Any]:
        """ApiError 409 Conflict if its resourceVersion has changed."""
        metadata = document["metadata"]
        path = _kind(document).path(metadata.get("namespace", ""), metadata["name"])
        return await self._ask("PUT", path, {"fieldManager": names.FIELD_MANAGER}, document)

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._ask("GET", kind_of(api_version, kind).path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = "", field_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        pages = self._pages(kind_of(api_version, kind), namespace, query)
        return [item async for page in pages for item in page]

    def pages(
        self, kind: Kind, namespace: str, label_selector: str, *, metadata_only: bool = False
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """The same page by page, so that not all objects are in memory at once."""
        return self._pages(kind, namespace, {"labelSelector": label_selector}, METADATA_ONLY if metadata_only else "")

    async def _pages(
        self, kind: Kind, namespace: str, query: Mapping[str, str], accept: str = ""
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        token = ""
        while True:
            page = await self._ask(
                "GET", kind.path(namespace), {**query, "limit": str(PAGE), "continue": token}, accept=accept
            )
            yield [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in page.get("items") or ()]
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    async def log_tail(self, pod: Document, container: str, n_lines: int) -> str:
        metadata = pod["metadata"]
        path = POD.path(metadata["namespace"], metadata["name"], "log")
        query = urlencode({"container": container, "tailLines": n_lines, "limitBytes": MAX_LOG_BYTES})
        status, retry_after, content = await self._sent("GET", f"{path}?{query}", {"Accept": "*/*"}, None)
        if status >= 300:
            _answer(status, retry_after, content, f"GET {path}")
        return content.decode("utf-8", "replace")

    async def delete(self, document: Document) -> None:
        metadata = document["metadata"]
        path = _kind(document).path(metadata.get("namespace", ""), metadata["name"])
        body = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        try:
            await self._ask("DELETE", path, {}, body)
        except ApiError as error:
            # 409: another object has that name by now.
            if error.code not in (404, 409):
                raise

    async def serves(self, api_version: str, kind: str) -> bool:
        wanted = kind_of(api_version, kind)
        try:
            found = await self._ask("GET", wanted.group_path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return any(resource.get("name") == wanted.plural for resource in found.get("resources", ()))

    async def record_event(self, regarding: Document, *, type_: str, reason: str, message: str, action: str) -> None:
        await self._event_limits.record(
            event_document(
                regarding, type_=type_, reason=reason, message=message, action=action, identity=self._identity
            ),
            self._post_event,
        )

    async def _post_event(self, document: Document) -> None:
        await self._ask("POST", EVENT.path(document["metadata"]["namespace"]), {}, document)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "",
    ) -> dict[str, Any]:
        asked = urlencode({key: value for key, value in (query or {}).items() if value})
        target = f"{path}?{asked}" if asked else path
        headers = {"Content-Type": content_type, "Accept": accept or "application/json"}
        generation = self._connection.generation
        try:
            try:
                return await self._once(method, target, headers, body)
            except ApiError as error:
                if error.code != 401:
                    raise
            await self._connection.load(refused=generation)
            return await self._once(method, target, headers, body)
        except ApiError as error:
            if error.code != 404:
                self._metrics.api_errors.labels(str(error.code)).inc()
            raise

    async def _once(
        self, method: str, target: str, headers: Mapping[str, str], body: Document | None
    ) -> dict[str, Any]:
        status, retry_after, content = await self._sent(method, target, headers, body)
        return _answer(status, retry_after, content, f"{method} {target}")

    async def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: Document | None
    ) -> tuple[int, str, bytes]:
        """Status, Retry-After and body of the answer."""
        connection = self._connection
        try:
            response = await connection.client.call_api(
                method,
                connection.server + target,
                {**headers, **await connection.headers(), "User-Agent": f"{names.FIELD_MANAGER}"},
                body=body,
                _request_timeout=self._limit,
            )
            content: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(
                0, type(error).__name__, f"{method} {target}: {str(error) or 'no answer in time'}"
            ) from error
        # The session was closed during the request because the credentials were read again.
        except RuntimeError as error:
            raise ApiError(0, "SessionClosed", f"{method} {target}: {error}") from error
        return response.status, response.headers.get("Retry-After", ""), content


def _kind(document: Document) -> Kind:
    return kind_of(document["apiVersion"], document["kind"])


def _answer(status: int, retry_after: str, content: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if status < 300 and isinstance(found, dict):
        return found
    said: Mapping[str, Any] = found if isinstance(found, dict) and found.get("kind") == "Status" else {}
    details = said.get("details") or {}
    seconds = retry_after if retry_after.isdecimal() else details.get("retryAfterSeconds")
    message = said.get("message") or content[:200].decode("utf-8", "replace").strip() or "no reason given"
    code = status if status >= 400 else 0
    raise ApiError(
        code,
        said.get("reason") or f"HTTP{status}",
        f"{message} ({what})" if not said else message,
        retry_after_s=float(seconds) if seconds is not None else None,
    )
