"""The CRD on a test cluster, and what the API server says of documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster_kit.cluster import Cluster, CommandFailed
from whisper_operator.names import CRD_NAME
from whisper_operator.resource.crd import make_crd

BY_TESTS = "test"
"""The field manager of a CRD that a test installed, and a later one may delete."""


@contextmanager
def installed_crd(cluster: Cluster) -> Iterator[None]:
    """A cluster that was brought up for the tests keeps it for the next module: garbage collection would take up to 30 s
    to learn of a new one. A CRD that another tool installed stays as it is; from a cluster that is not of this kit, ours
    is deleted afterwards, with all endpoints.
    """
    managers = crd_managers(cluster)
    is_there = bool(managers)
    if not is_there or BY_TESTS in managers:
        cluster.apply(make_crd(), manager=BY_TESTS)
    try:
        if not is_there:
            wait_for_crd(cluster)
        yield
    finally:
        if cluster.layout is None and not is_there:
            cluster.delete("crd", CRD_NAME)


def wait_for_crd(cluster: Cluster) -> None:
    """Until it is served, to kubectl too."""
    cluster.wait(lambda: _is_established(cluster.get("crd", CRD_NAME)), 60, "the CRD is established")
    cluster.wait(lambda: cluster.kubectl("explain", "wep.spec.gpu"), 60, "the API server has the schema")


def _is_established(crd: dict[str, Any]) -> bool:
    """At first it has no conditions at all."""
    found = crd.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in found)


def crd_managers(cluster: Cluster) -> set[str]:
    """Field managers of the CRD; none if it does not exist."""
    return cluster.managers("crd", CRD_NAME)


def refusals(cluster: Cluster, documents: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Name of each WhisperEndpoint that the API server refuses → its message."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    try:
        cluster.kubectl("create", "--dry-run=server", "--validate=ignore", "-f-", stdin=text)
    except CommandFailed as failed:
        found = re.split(r'^.*?WhisperEndpoint\S* "(.*?)" is invalid: ', str(failed), flags=re.MULTILINE)
        return {name: error.strip() for name, error in zip(found[1::2], found[2::2], strict=True)}
    return {}
