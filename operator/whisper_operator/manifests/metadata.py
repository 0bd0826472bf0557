"""What all children have in common: whose they are, and the labels that say so.

Nothing of the endpoint's own metadata is copied: annotations of tools mean the endpoint, not its children.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whisper_operator import names
from whisper_operator.manifests.plain import plain, present
from whisper_operator.resource.spec import Endpoint


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
        "labels": {**(labels or {}), **names.labels_of(endpoint.name)},
        **present(annotations=plain(annotations or {})),
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
