"""Kubernetes Events for the changes between two statuses that a person wants to know. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from whisper_operator.resource.fields import Document
from whisper_operator.status import reasons
from whisper_operator.status.conditions import conditions_of
from whisper_operator.status.default_image import TYPE as DEFAULT_IMAGE
from whisper_operator.status.field_conflicts import TYPE as SYNCED
from whisper_operator.status.readiness import READY, VALID
from whisper_operator.status.routes import TYPE as EXPOSED
from whisper_operator.status.scaling import TYPE as AUTOSCALING
from whisper_operator.status.scheduling import TYPE as SCHEDULED
from whisper_operator.status.workload import PROGRESSING

NORMAL, WARNING = "Normal", "Warning"
_REPORTED = (READY, VALID, SCHEDULED, PROGRESSING, EXPOSED, AUTOSCALING, DEFAULT_IMAGE, SYNCED)
_HARMLESS = frozenset(
    {
        reasons.SUSPENDED,
        reasons.SCALED_TO_ZERO,
        reasons.MODEL_LOADING,
        reasons.CONTAINER_CREATING,
        reasons.TOO_FEW_READY_PODS,
        reasons.NOT_READY,
        reasons.ROUTE_PENDING,
        reasons.PRELOADING,
    }
)
_SILENT = frozenset({reasons.CREATING, reasons.NO_READY_PODS, reasons.IMAGE_WAITING})
"""Transient states that get no Event."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventToRecord:
    """An Event about a WhisperEndpoint."""

    type: str
    reason: str
    message: str
    action: str = "Reconcile"


def events_between(previous: Document, status: Document) -> tuple[EventToRecord, ...]:
    """Events for a new status: each issue once, and the recovery.

    `previous` is the WhisperEndpoint with its previous status, `status` the new one.
    """
    before, after = conditions_of(previous), conditions_of({"status": status})
    events: dict[str, EventToRecord] = {}
    for type_ in _REPORTED:
        for event in _of(type_, before, after):
            events.setdefault(event.reason, event)
    if reasons.READY in events:
        events.pop(reasons.ROLLED_OUT, None)
    return tuple(events.values())


def _of(type_: str, before: Mapping[str, Document], after: Mapping[str, Document]) -> Iterator[EventToRecord]:
    new, old = after.get(type_), before.get(type_, {})
    if new is None or (new["status"], new["reason"]) == (old.get("status"), old.get("reason")):
        return
    if new["status"] == "False" and new["reason"] not in _SILENT:
        kind = NORMAL if new["reason"] in _HARMLESS else WARNING
        yield EventToRecord(type=kind, reason=new["reason"], message=new["message"])
    elif new["status"] == "True" and (type_ == READY or new["reason"] == reasons.ROLLED_OUT):
        yield EventToRecord(type=NORMAL, reason=new["reason"], message=new["message"])
