"""What `reconcile` needs from a cluster: a Protocol, and the error that its methods raise. `cluster` implements it.

Documents are plain dictionaries. Nothing here imports a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from whisper_operator.resource.fields import Document


class ApiError(Exception):
    """The API server refused or did not answer. `code` 0: no answer (connection, time-out)."""

    def __init__(self, code: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class Cluster(Protocol):
    """A Kubernetes API server."""

    async def apply(self, document: Document) -> dict[str, Any]:
        """Server-side apply under the operator's field manager, forced; returns the object as stored."""

    async def correct(self, live: Document, patch: Document) -> dict[str, Any]:
        """JSON merge patch of exactly this version of the object: ApiError 409 if it has changed."""

    async def apply_status(self, document: Document) -> dict[str, Any]:
        """Server-side apply on the status subresource, under the status field manager."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object, or None if it does not exist. `namespace` empty: cluster-scoped."""

    async def list(
        self, api_version: str, kind: str, namespace: str, *, label_selector: str = "", field_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        """Objects of a kind in a namespace (empty: all)."""

    async def log_tail(self, pod: Document, container: str, n_lines: int) -> str:
        """The last lines of a container's log. ApiError 400 where it has not started."""

    async def delete(self, document: Document) -> None:
        """Deletes exactly this object (precondition: its uid), in the background. No error if it is already gone."""

    async def serves(self, api_version: str, kind: str) -> bool:
        """Whether the API server serves this kind."""

    async def record_event(self, regarding: Document, *, type_: str, reason: str, message: str, action: str) -> None:
        """Writes an Event about an object. Never raises: an Event that cannot be written is logged."""
