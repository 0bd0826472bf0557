"""Kubernetes Events about endpoints: their format and their rate limits.

An endpoint that flaps must not flood the cluster: the same message about the same object is written once per
`REPEAT_S`, and each object has a budget. Writing an Event never raises: the reconciliation does not depend on it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from whisper_operator import names
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.resource.fields import Document

log = logging.getLogger(__name__)

REPEAT_S = 600.0
"""Shortest time between two equal messages about an object."""
BURST = 25.0
"""Events about one object at once …"""
REFILL_S = 60.0
"""… and then one per this time."""
REMEMBERED = 4096
NOTE_LIMIT = 1024
"""The API's limit, in bytes."""


def event_document(
    regarding: Document, *, type_: str, reason: str, message: str, action: str, identity: str
) -> dict[str, Any]:
    """An events.k8s.io/v1 Event."""
    metadata = regarding["metadata"]
    note = (
        message
        if len(message.encode()) <= NOTE_LIMIT
        else message.encode()[: NOTE_LIMIT - 3].decode("utf-8", "ignore") + "…"
    )
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
        "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": identity[:128],
        "type": type_,
        "reason": reason,
        "action": action,
        "note": note,
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


class EventLimits:
    """Remembers recent Events, and limits their rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def record(self, event: Document, post: Callable[[Document], Awaitable[None]]) -> None:
        """Writes the Event unless a limit is exceeded."""
        if not self._is_allowed(event):
            return
        try:
            await post(event)
        except ApiError as error:
            log.info("cannot write an Event: %s", error, extra={"fields": {"reason": event["reason"]}})

    def _is_allowed(self, event: Document) -> bool:
        now = self._clock()
        uid = event["regarding"]["uid"]
        words = (uid, event["type"], event["reason"], event["note"])
        if now - self._recent.get(words, -REPEAT_S) < REPEAT_S:
            return False
        left, since = self._budgets.get(uid, (BURST, now))
        left = min(BURST, left + (now - since) / REFILL_S)
        if left < 1:
            return False
        _remember(self._budgets, uid, (left - 1, now))
        _remember(self._recent, words, now)
        return True


def _remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
