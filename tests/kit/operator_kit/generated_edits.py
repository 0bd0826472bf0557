"""Edits of a child by hand, generated from its document: for each field that the operator writes a change and a removal,
for each list and each map that is the operator's alone an addition. Pure; `live_reconciler` applies them.

Where the API server may refuse a value, an edit has several candidates, and the first one that it accepts counts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whisper_operator.reconcile.drift import OWNED_MAPS

Document = dict[str, Any]
Path = tuple[str | int, ...]

REMOVED = object()
OTHER_WORDS = {
    "LoadBalancer": "NodePort",
    "TCP": "UDP",
    "Ingress": "Egress",
    "Egress": "Ingress",
    "RollingUpdate": "Recreate",
    "IfNotPresent": "Always",
    "Max": "Min",
    "Percent": "Pods",
    "Pods": "Percent",
    "Equal": "Exists",
    "NoSchedule": "NoExecute",
    "ScheduleAnyway": "DoNotSchedule",
    "Prefix": "Exact",
    "AlwaysAllow": "IfHealthyBudget",
    "DoesNotExist": "Exists",
    "OnRootMismatch": "Always",
    "FallbackToLogsOnError": "File",
    "replace": "keep",
}
"""Of fields that take certain words only."""
OF_GARBAGE_COLLECTION = frozenset({"uid", "name", "kind", "apiVersion"})
"""Of an owner reference: the garbage collector deletes a child whose owner is not there. A deleted child comes back, which
another test shows."""

FOREIGN_FIELDS: dict[str, Any] = {
    "endPort": 65535,
    "from": [{"namespaceSelector": {}}],
    "to": [{"podSelector": {}}],
    "command": ["mine"],
    "envFrom": [{"configMapRef": {"name": "mine"}}],
    "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    "appProtocol": "mine",
    "readOnly": True,
    "subPath": "mine",
    "host": "mine.example.com",
    "metricRelabelings": [{"action": "drop"}],
}
"""Fields that the operator does not write into some items of its lists."""
WHOSE_IT_IS = {("metadata", "labels"), ("metadata", "ownerReferences")}
"""An object that has lost both is somebody else's."""


@dataclass(frozen=True)
class Edit:
    """One edit of one child."""

    what: str
    """change, remove or add."""
    at: Path
    candidates: tuple[Any, ...]
    """New values of the field; REMOVED: without it."""

    def __str__(self) -> str:
        return f"{self.what} {'.'.join(map(str, self.at))}"

    def applied_to(self, document: Document, value: Any) -> Document:
        """A copy with this value in the field."""
        edited = copy.deepcopy(document)
        inner: Any = edited
        for step in self.at[:-1]:
            inner = inner[step]
        if value is REMOVED:
            del inner[self.at[-1]]
        elif isinstance(inner, list) and self.at[-1] == len(inner):
            inner.append(copy.deepcopy(value))
        else:
            inner[self.at[-1]] = copy.deepcopy(value)
        return edited

    def overlaps(self, other: Edit) -> bool:
        """Whether one is inside the other."""
        if {self.at[:2], other.at[:2]} == WHOSE_IT_IS:
            return True
        return all(one == two for one, two in zip(self.at, other.at, strict=False))


def edits_of(live: Document, desired: Document) -> list[Edit]:
    """`live` has the same fields as `desired`, and those of the API server."""
    written = {key: value for key, value in desired.items() if key not in ("apiVersion", "kind", "metadata")}
    about = {key: value for key, value in desired["metadata"].items() if key not in ("name", "namespace")}
    return [*_inside(live, written, ()), *_inside(live["metadata"], about, ("metadata",))]


def _inside(live: Any, desired: Any, at: Path, *, owned: bool = False) -> Iterator[Edit]:
    if isinstance(desired, dict):
        yield from _of_map(live, desired, at, owned=owned)
    elif isinstance(desired, list):
        yield from _of_list(live, desired, at, owned=owned)
    else:
        yield Edit("change", at, tuple(_others(live)))


def _of_map(live: Document, desired: Document, at: Path, *, owned: bool) -> Iterator[Edit]:
    for key, value in desired.items():
        is_given = at[-2:-1] == ("ownerReferences",) and key in OF_GARBAGE_COLLECTION
        if is_given or key not in live:  # the API server leaves out what is empty
            continue
        is_owned = owned or key in OWNED_MAPS
        yield Edit("remove", (*at, key), (REMOVED,))
        yield from _inside(live[key], value, (*at, key), owned=is_owned)
        if is_owned and isinstance(value, dict):
            yield Edit("add", (*at, key, "mine"), ("too", "1", 1))


def _of_list(live: list[Any], desired: list[Any], at: Path, *, owned: bool) -> Iterator[Edit]:
    for number, value in enumerate(desired):
        yield Edit("remove", (*at, number), (REMOVED,))
        yield from _inside(live[number], value, (*at, number), owned=owned)
        foreign = FOREIGN_FIELDS if isinstance(value, dict) else {}
        yield from (
            Edit("add", (*at, number, name), (example,))
            for name, example in foreign.items()
            if name not in live[number]
        )
    if desired:
        yield Edit("add", (*at, len(live)), tuple(_another(live[0])))


def _others(value: Any) -> Iterator[Any]:
    """Other values of the same type."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 1, 2)
    elif isinstance(value, str):
        yield from ([OTHER_WORDS[value]] if value in OTHER_WORDS else [])
        yield from (f"{value}1", f"1{value}", "1")


def _another(item: Any) -> Iterator[Any]:
    """Items that differ from this one in what the API server tells items apart by, or in all that they hold."""
    keys = ("name", "containerPort", "port", "mountPath", "key", "ip", "topologyKey", "type", "value")
    if not isinstance(item, dict):
        yield from _others(item)
        return
    yield {**item, **{key: next(_others(item[key])) for key in keys if key in item}}
    yield {**item, **{key: "198.51.100.7" for key in ("ip",) if key in item}}
    yield {**item, **{key: "mine" for key in ("name", "key") if key in item}}
    yield {"name": "mine", "image": "mine", "value": "1"}
    yield {"name": "mine", "value": "1"}
    yield {"name": "mine", "emptyDir": {}}
    yield item


def batches(edits: Iterable[tuple[Edit, Any]]) -> list[list[tuple[Edit, Any]]]:
    """As few batches as a first fit finds, in which no edit overlaps another."""
    found: list[list[tuple[Edit, Any]]] = []
    for edit, value in edits:
        fits = next((batch for batch in found if not any(edit.overlaps(one) for one, _ in batch)), None)
        if fits is None:
            found.append([(edit, value)])
        else:
            fits.append((edit, value))
    return found


def edited(document: Document, batch: Sequence[tuple[Edit, Any]]) -> Document:
    """All edits of a batch; those that shorten lists come last, from the back."""
    order = sorted(
        batch, key=lambda one: (one[1] is REMOVED, [-step if isinstance(step, int) else 0 for step in one[0].at])
    )
    for edit, value in order:
        document = edit.applied_to(document, value)
    return document
