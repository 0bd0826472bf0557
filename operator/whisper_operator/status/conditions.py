"""Conditions of the status. A condition keeps its lastTransitionTime while its status is the same. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from whisper_operator.resource.fields import Document
from whisper_operator.status.accessors import get_list, get_str
from whisper_operator.status.issue import Issue, clipped


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One aspect of an endpoint."""

    type: str
    status: Truth
    reason: str
    message: str

    @property
    def holds(self) -> bool:
        return self.status is Truth.TRUE


def fails(type_: str, issue: Issue) -> Condition:
    """A condition with status False, for this issue."""
    return Condition(type=type_, status=Truth.FALSE, reason=issue.reason, message=issue.message)


def conditions_of(document: Document) -> Mapping[str, Document]:
    """The conditions of any object, by type."""
    return {get_str(entry, "type"): entry for entry in get_list(document, "status", "conditions")}


def condition_of(document: Document | None, type_: str) -> Document:
    """One condition of an object; empty if the condition or the object is missing."""
    return conditions_of(document or {}).get(type_, {})


def as_documents(
    conditions: Iterable[Condition], *, previous: Mapping[str, Document], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions as the status stores them; `previous` are the stored ones, by type."""
    return [
        {
            "type": condition.type,
            "status": str(condition.status),
            "observedGeneration": generation,
            "lastTransitionTime": _since(condition, previous.get(condition.type), now),
            "reason": condition.reason,
            "message": clipped(condition.message),
        }
        for condition in conditions
    ]


def _since(condition: Condition, before: Document | None, now: datetime) -> str:
    if before is not None and before.get("status") == condition.status and before.get("lastTransitionTime"):
        return str(before["lastTransitionTime"])
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
