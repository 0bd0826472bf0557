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


@contextmanager
def installed_crd(cluster: Cluster) -> Iterator[None]:
    """Whoever has it there already keeps it; else it is gone afterwards, with all endpoints."""
    there = cluster.kubectl("get", "crd", CRD_NAME, "--ignore-not-found", "-oname")
    if there:
        yield
        return
    cluster.apply(make_crd())
    try:
        # At first it has no conditions at all, which kubectl takes for an error.
        established = ("wait", f"crd/{CRD_NAME}", "--for=condition=Established", "--timeout=5s")
        cluster.wait(lambda: cluster.kubectl(*established), 60, "the CRD is established")
        cluster.wait(lambda: cluster.kubectl("explain", "wep.spec.gpu"), 60, "the API server has the schema")
        yield
    finally:
        cluster.delete("crd", CRD_NAME)


def refusals(cluster: Cluster, documents: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Name of each WhisperEndpoint that the API server would not take → what it says."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    try:
        cluster.kubectl("create", "--dry-run=server", "--validate=ignore", "-f-", stdin=text)
    except CommandFailed as failed:
        found = re.split(r'^.*?WhisperEndpoint\S* "(.*?)" is invalid: ', str(failed), flags=re.MULTILINE)
        return {name: error.strip() for name, error in zip(found[1::2], found[2::2], strict=True)}
    return {}
