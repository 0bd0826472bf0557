"""What the store keeps of an object: a change of anything else is no change, and takes no memory. Pure.

Of children everything is kept but `managedFields`, because edits of any field are compared. Pods and EndpointSlices, which
Kubernetes makes, are only read for the status: of a pod's spec `status` reads some fields (4.2 kB become
2.0 kB), of a slice whether an address is ready. The resourceVersion is kept elsewhere, so that two versions with equal fields are equal.
"""

from __future__ import annotations

from typing import Any

from whisper_operator.kinds import ENDPOINT_SLICE, POD
from whisper_operator.resource.fields import Document

NO_METADATA = frozenset({"managedFields", "resourceVersion"})
POD_SPEC = ("nodeName", "nodeSelector", "affinity", "tolerations", "resourceClaims")
CONTAINERS = ("initContainers", "containers")
CONTAINER = ("name", "image", "resources", "restartPolicy")
ADDRESS = ("conditions",)


def kept_fields(document: Document) -> dict[str, Any]:
    """A copy with the fields that a reconciliation reads."""
    kept = {**document, "metadata": {k: v for k, v in document["metadata"].items() if k not in NO_METADATA}}
    if kept["kind"] == POD.kind and "spec" in kept:
        spec = kept["spec"]
        kept["spec"] = _only(spec, POD_SPEC) | {
            name: [_only(one, CONTAINER) for one in spec[name]] for name in CONTAINERS if spec.get(name)
        }
    elif kept["kind"] == ENDPOINT_SLICE.kind:
        kept.pop("ports", None)
        kept["metadata"].pop("annotations", None)  # the time of the last change
        kept["endpoints"] = [_only(one, ADDRESS) for one in kept.get("endpoints") or ()]
    return kept


def _only(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}
