"""Building blocks of all manifests: copies of JSON, the children's metadata, image names.

A manifest never shares mutable data with the spec. The endpoint's own labels and annotations are not copied, because tools
set them for the endpoint, not for its children: `commonLabels` and `commonAnnotations` are. No tag is added to an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whisper_operator import names
from whisper_operator.resource.spec import Endpoint


def plain(value: Any) -> Any:
    """A deep copy as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def present(**fields: Any) -> dict[str, Any]:
    """An object without fields that are None or empty, which the API server treats like absent ones."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def metadata(
    endpoint: Endpoint,
    *,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The child's metadata; `name` empty: that of the endpoint."""
    return {
        "name": name or names.child_name(endpoint.name),
        "namespace": endpoint.namespace,
        "labels": {**endpoint.spec.common_labels, **(labels or {}), **names.labels_of(endpoint.name)},
        **present(annotations=plain({**endpoint.spec.common_annotations, **(annotations or {})})),
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": endpoint.name,
                "uid": endpoint.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def pod_selector(endpoint: Endpoint) -> dict[str, Any]:
    """Selects the endpoint's pods."""
    return {"matchLabels": names.selector_of(endpoint.name)}


def names_a_registry(image: str) -> bool:
    """Whether its first part is a host, as container runtimes see it: a repository has no capital letters."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def from_registry(image: str, registry: str) -> str:
    """The image with the registry as prefix, unless it names a registry itself."""
    return image if names_a_registry(image) or not registry else f"{registry.rstrip('/')}/{image}"
