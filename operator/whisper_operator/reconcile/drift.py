"""How a live child differs from its desired document, and the correction of what server-side apply cannot put back.

Only what we write is compared: the API server fills in defaults and other controllers add their own fields. But the maps
in `OWNED_MAPS`, and lists, are ours entirely: another key in a selector leaves a Service without endpoints, or a policy
without pods. Apply merges such maps and lists by key, so an extra key stays, and a changed port is refused as a duplicate.
A JSON merge patch replaces lists and removes keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from whisper_operator.kinds import CLAIM, CLAIM_TEMPLATE, DEPLOYMENT, JOB
from whisper_operator.resource.fields import Document

OWNED_MAPS = frozenset({"selector", "podSelector", "matchLabels", "nodeSelector"})
"""Maps that hold nothing but what we write, wherever they are."""
CORRECTED_AFTERWARDS = frozenset({DEPLOYMENT.kind, "HorizontalPodAutoscaler"})
"""The API server normalizes quantities in their lists, so that equal ones look changed, and each change of a Deployment's
template restarts pods: they are applied first, and then only what is too much is removed."""
ASSIGNED = ("nodePort",)
"""Fields of list items that the API server assigns: clients of a node port would lose it."""
NEVER_CORRECTED = frozenset({CLAIM.kind, CLAIM_TEMPLATE.kind, JOB.kind})
"""Immutable."""


def digest(value: Any) -> bytes:
    """Hash of a JSON value that does not depend on the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def projected(live: Any, desired: Any, *, whole_lists: bool = False) -> Any:
    """The part of the live value that the desired value covers.

    Of an object only the desired keys are kept, and all keys of an owned map. A list with more or fewer items than desired
    is kept whole, and with `whole_lists` each list.
    """
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return {
            key: live[key]
            if _is_owned_map(key, live[key], desired[key])
            else projected(live[key], desired[key], whole_lists=whole_lists)
            for key in desired
            if key in live
        }
    if not whole_lists and isinstance(desired, list | tuple) and isinstance(live, list) and len(desired) == len(live):
        return [projected(one, other) for one, other in zip(live, desired, strict=True)]
    return live


def fingerprint(live: Document, desired: Document) -> bytes:
    """Hash of a live object, reduced to the fields of the desired object; its lists whole.

    What the API server fills into the items of a list is the same after each apply, so another field is somebody's.
    """
    return digest(projected(live, desired, whole_lists=True))


def correction(live: Document, desired: Document, *, surplus_only: bool = False) -> dict[str, Any]:
    """A JSON merge patch of the spec: lists that differ, and keys that owned maps must not have. Empty: apply suffices.

    `surplus_only`: lists with other values are the same; only items and keys that are too many or too few differ.
    """
    reduced = _shape if surplus_only else _itself
    found = _correction(live.get("spec") or {}, desired.get("spec") or {}, reduced, is_owned=False)
    return {"spec": found} if found else {}


def replacement(live: Document, desired: Document) -> dict[str, Any]:
    """A JSON merge patch of the spec that writes all lists as desired, and removes keys that owned maps must not have."""
    found = _correction(live.get("spec") or {}, desired.get("spec") or {}, None, is_owned=False)
    return {"spec": found} if found else {}


def _correction(
    live: Mapping[str, Any], desired: Mapping[str, Any], reduced: Callable[[Any], Any] | None, *, is_owned: bool
) -> dict[str, Any]:
    """`reduced` None: lists are never equal."""
    found: dict[str, Any] = {key: None for key in live if is_owned and key not in desired}
    for key, value in desired.items():
        there = live.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            inner = _correction(there, value, reduced, is_owned=is_owned or key in OWNED_MAPS)
            found |= {key: inner} if inner else {}
        elif isinstance(value, list | tuple) and isinstance(there, list):
            differs = reduced is None or reduced(projected(there, value)) != reduced(value)
            found |= {key: _with_assigned(there, value)} if differs else {}
    return found


def _with_assigned(live: list[Any], desired: list[Any] | tuple[Any, ...]) -> list[Any]:
    """The desired list with what the API server has given to its items, which a replaced list would lose."""
    if len(live) != len(desired) or not all(isinstance(one, Mapping) for one in (*live, *desired)):
        return list(desired)
    return [
        {**{key: there[key] for key in ASSIGNED if key in there}, **one}
        for there, one in zip(live, desired, strict=True)
    ]


def _itself(value: Any) -> Any:
    return value


def _shape(value: Any) -> Any:
    """Objects and lists without the values in them."""
    if isinstance(value, Mapping):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list | tuple) else None


def _is_owned_map(key: str, live: Any, desired: Any) -> bool:
    return key in OWNED_MAPS and isinstance(live, Mapping) and isinstance(desired, Mapping)
