"""The end state of an endpoint on a cluster: the desired part of its children, comparable between endpoints.

Left out is what the API server gives out (uids, times, versions, addresses) and what differs with namespace and name.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from cluster_kit.cluster import Cluster
from whisper_operator import names
from whisper_operator.kinds import CHILDREN, OPTIONAL, POD

Document = dict[str, Any]

WATCHED = ",".join(f"{kind.plural}.{kind.group}".rstrip(".") for kind in CHILDREN if kind not in OPTIONAL)
GIVEN_OUT = {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace"}
CONTROLLERS = ("deployment.kubernetes.io/", "pv.kubernetes.io/", "volume.")
ADDRESSES = {"clusterIP", "clusterIPs", "volumeName"}
SELECTOR = f"{names.MANAGED_BY_LABEL}={names.FIELD_MANAGER}"


def children(cluster: Cluster, namespace: str, endpoint: str = "") -> dict[str, Document]:
    """All objects with the operator's labels except pods, by kind and name."""
    selector = f"{SELECTOR},{names.ENDPOINT_LABEL}={endpoint}" if endpoint else SELECTOR
    found = cluster.find(WATCHED, namespace, selector)
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def pods(cluster: Cluster, namespace: str, endpoint: str = "") -> list[Document]:
    selector = f"{SELECTOR},{names.ENDPOINT_LABEL}={endpoint}" if endpoint else SELECTOR
    return cluster.find(POD.plural, namespace, selector)


def end_state(cluster: Cluster, namespace: str, endpoint: str) -> dict[str, Document]:
    """The children without what the API server assigns; the endpoint's name is written as NAME, its namespace as NAMESPACE."""
    found = children(cluster, namespace, endpoint)
    text = json.dumps({name: desired(child) for name, child in found.items()}, sort_keys=True)
    # The hash covers what is compared here anyway, and includes the endpoint's name.
    text = re.sub(rf'("{names.SETTINGS_HASH_ANNOTATION}"): "[0-9a-f]+"', r'\1: "HASH"', text)
    said: dict[str, Document] = json.loads(text.replace(endpoint, "NAME").replace(namespace, "NAMESPACE"))
    return said


def desired(child: Mapping[str, Any]) -> Document:
    metadata = {key: value for key, value in child["metadata"].items() if key not in GIVEN_OUT}
    metadata["ownerReferences"] = [{**one, "uid": ""} for one in metadata.get("ownerReferences", ())]
    annotations = {
        key: value
        for key, value in metadata.get("annotations", {}).items()
        if not key.startswith((*CONTROLLERS, names.TEMPLATE_ANNOTATION))
    }
    spec = {key: value for key, value in child.get("spec", {}).items() if key not in ADDRESSES}
    return {
        **{key: child[key] for key in child if key != "status"},
        "metadata": {**metadata, "annotations": annotations},
        "spec": spec,
    }


def versions(documents: Mapping[str, Document]) -> dict[str, str]:
    return {name: one["metadata"]["resourceVersion"] for name, one in documents.items()}


def conditions(endpoint: Document) -> dict[str, Document]:
    """By type."""
    return {one["type"]: one for one in (endpoint.get("status") or {}).get("conditions", ())}


def is_current(endpoint: Document, ready: str = "True") -> bool:
    """Whether its status refers to its newest spec, and Ready has this status."""
    generation = (endpoint.get("status") or {}).get("observedGeneration")
    said = conditions(endpoint).get("Ready", {}).get("status")
    return bool(generation == endpoint["metadata"]["generation"] and said == ready)


def wait_until_ready(cluster: Cluster, namespace: str, *endpoints: str, limit_s: float = 60) -> None:
    for name in endpoints:
        what = f"{namespace}/{name} is ready"
        cluster.wait(functools.partial(_is_ready, cluster, namespace, name), limit_s, what, every_s=0.25)


def _is_ready(cluster: Cluster, namespace: str, name: str) -> bool:
    return is_current(cluster.get("wep", name, namespace))


def wait_for_pods(cluster: Cluster, namespace: str, endpoint: str, n_pods: int, limit_s: float = 60) -> None:
    def there() -> bool:
        return len(pods(cluster, namespace, endpoint)) == n_pods

    cluster.wait(there, limit_s, f"{namespace}/{endpoint} has {n_pods} pods", every_s=0.25)
