"""The condition Synced: there, and False, while another client keeps changing fields that the operator writes. Pure.

Nothing in the message counts or has a time, so that it stays the same while the conflict lasts.
"""

from __future__ import annotations

from whisper_operator import names
from whisper_operator.snapshot import FieldConflict
from whisper_operator.status import reasons
from whisper_operator.status.conditions import Condition, fails
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, joined

TYPE = "Synced"
MAX_TOLD = 2
"""Children whose conflict the message describes in full; it has room for no more."""
OWN_MANAGERS = frozenset({names.FIELD_MANAGER, f"{names.STATUS_FIELD_MANAGER} (status)"})


def synced(view: EndpointView) -> Condition | None:
    """None: what the operator writes stays as it is."""
    conflicts = view.snapshot.conflicts
    if not conflicts:
        return None
    told = [_told(conflict) for conflict in conflicts[:MAX_TOLD]]
    others = ", ".join(f"{one.key.kind} {one.key.name}" for one in conflicts[MAX_TOLD:])
    more = f"The same happens to {others}." if others else ""
    advice = dict.fromkeys(_advice(conflict) for conflict in conflicts)
    return fails(TYPE, Issue(reason=reasons.FIELD_CONFLICT, message=joined(*told, more, *advice)))


def _told(conflict: FieldConflict) -> str:
    managers = " and ".join(conflict.managers)
    by = f" by the field manager {managers}" if managers else " by another client"
    what = f"{conflict.key.kind} {conflict.key.name}"
    if not conflict.fields:
        return f"{what} is deleted again and again{by}, and made again by the operator, more and more rarely."
    fields = ", ".join(conflict.fields)
    return f"{fields} of {what} changes again and again{by}, and is put back by the operator, more and more rarely."


def _advice(conflict: FieldConflict) -> str:
    if conflict.autoscalers:
        found = " and ".join(f"HorizontalPodAutoscaler {name}" for name in conflict.autoscalers)
        return f"{found} scales this Deployment: delete it, and set spec.autoscaling instead."
    if OWN_MANAGERS & set(conflict.managers):
        return (
            "That is another whisper-operator: uninstall one of the two, or give each its own namespaces"
            " (watch.namespaces of the chart)."
        )
    if any(manager.endswith("(scale)") for manager in conflict.managers):
        return "Something else scales this Deployment: remove it, and set spec.autoscaling instead."
    return "Let that client leave it alone: what it should be is decided by the WhisperEndpoint's spec."
