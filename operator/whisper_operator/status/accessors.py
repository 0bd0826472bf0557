"""Reading documents in which anything may be missing, or null. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whisper_operator.resource.fields import Document


def get_value(document: Document, *path: str) -> Any:
    """What is there; None where nothing is."""
    node: Any = document
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def get_map(document: Document, *path: str) -> Document:
    """A map within a document; an empty one where there is none."""
    found = get_value(document, *path)
    return found if isinstance(found, Mapping) else {}


def get_list(document: Document, *path: str) -> Sequence[Document]:
    """A list of maps within a document; an empty one where there is none."""
    found = get_value(document, *path)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, Sequence) else []


def get_str(document: Document, *path: str) -> str:
    """A text within a document; empty where there is none."""
    found = get_value(document, *path)
    return found if isinstance(found, str) else ""


def get_int(document: Document, *path: str) -> int:
    """A whole number within a document; 0 where there is none."""
    found = get_value(document, *path)
    return found if isinstance(found, int) else 0
