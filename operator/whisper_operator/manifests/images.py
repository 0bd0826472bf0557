"""Names of images. No tag is ever put on one: what runs is what was written."""

from __future__ import annotations


def from_registry(image: str, registry: str) -> str:
    """The image out of that registry, unless it names one itself."""
    first, slash, _ = image.partition("/")
    names_one = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return image if names_one or not registry else f"{registry.rstrip('/')}/{image}"
