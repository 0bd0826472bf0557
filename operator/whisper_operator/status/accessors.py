"""Typed access to documents in which any field may be missing or null. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whisper_operator.resource.fields import Document


def get_value(document: Document, *path: str) -> Any:
    """The value at a path, or None."""
    node: Any = document
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def get_map(document: Document, *path: str) -> Document:
    """The map at a path, or an empty one."""
    found = get_value(document, *path)
    return found if isinstance(found, Mapping) else {}


def get_list(document: Document, *path: str) -> Sequence[Document]:
    """The list of maps at a path, or an empty one."""
    found = get_value(document, *path)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, Sequence) else []


def get_str(document: Document, *path: str) -> str:
    """The string at a path, or an empty one."""
    found = get_value(document, *path)
    return found if isinstance(found, str) else ""


def get_int(document: Document, *path: str) -> int:
    """The integer at a path, or 0."""
    found = get_value(document, *path)
    return found if isinstance(found, int) else 0
