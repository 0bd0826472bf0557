"""Which fields two versions of an object differ in, and which field managers wrote a field, by `metadata.managedFields`. Pure.

An Update or a forced apply that changes a field takes it from its earlier managers, so the manager of a field that differs
from what the operator wrote is the client that changed it. Of a field that was removed there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from whisper_operator import names
from whisper_operator.reconcile.drift import projected
from whisper_operator.resource.fields import Document

Path = tuple[str | int, ...]


def changed_fields(live: Document, after: Document, desired: Document) -> tuple[Path, ...]:
    """Where a live object differed from the same object after it was corrected, among the fields that the operator writes."""
    before, now = (projected(one, desired, whole_lists=True) for one in (live, after))
    found = tuple(_differences(before, now, ()))
    # The operator's own annotations follow from other fields, which say more.
    return tuple(path for path in found if not str(path[-1]).startswith(f"{names.GROUP}/")) or found


def path_text(path: Path) -> str:
    """As in `kubectl explain`: `spec.ports[0].port`; keys with a dot or a slash in brackets."""
    steps = (f"[{step}]" if isinstance(step, int) or set(step) & set("./") else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def managers_of(document: Document, paths: Iterable[Path]) -> tuple[str, ...]:
    """The field managers of these fields, and through which subresource they wrote: `kube-controller-manager (scale)`."""
    wanted = tuple(paths)
    found = set()
    for entry in document["metadata"].get("managedFields") or ():
        is_own = entry.get("manager") == names.FIELD_MANAGER
        if any(_owns(entry.get("fieldsV1") or {}, path, document, whole=is_own) for path in wanted):
            subresource = entry.get("subresource", "")
            found.add(f"{entry.get('manager', '')} ({subresource})" if subresource else entry.get("manager", ""))
    return tuple(sorted(found - {""}))


def _differences(one: Any, other: Any, path: Path) -> Iterator[Path]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), (*path, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (item, its_other) in enumerate(zip(one, other, strict=True)):
            yield from _differences(item, its_other, (*path, index))
    elif one != other:
        yield path


def _owns(fields: Mapping[str, Any], path: Path, live: Any, *, whole: bool) -> bool:
    """Whether fieldsV1 has the field. `whole`: not if it has only parts of it, as the operator has of a list with an item too many."""
    if not fields:
        return True
    if not path:
        return not whole
    step, *rest = path
    inner = _at(live, step)
    if isinstance(step, str):
        found = fields.get(f"f:{step}")
        return found is not None and _owns(found, tuple(rest), inner, whole=whole)
    return any(
        _owns(its, tuple(rest), inner, whole=whole)
        for name, its in fields.items()
        if name.startswith("k:") and _is_item(json.loads(name.removeprefix("k:")), inner)
    )


def _at(live: Any, step: str | int) -> Any:
    try:
        return live[step]
    except (KeyError, IndexError, TypeError):
        return None


def _is_item(keys: Mapping[str, Any], item: Any) -> bool:
    return isinstance(item, Mapping) and all(item.get(key) == value for key, value in keys.items())
