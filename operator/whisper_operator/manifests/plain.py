"""Kubernetes' JSON as new dictionaries and lists: what goes out never shares anything with the spec that came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """A copy all the way down."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def present(**fields: Any) -> dict[str, Any]:
    """An object without the fields that are None or empty: for the API server they would be the same as absent."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
