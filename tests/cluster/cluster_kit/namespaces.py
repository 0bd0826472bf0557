"""Namespaces of tests: fresh, strict about pods, and gone afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cluster_kit.cluster import Cluster

INFORMERS_S = 90.0
"""Those of the controllers wait up to 30 s before they ask an apiserver again that a test before had stopped."""


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[str]:
    """One that lets in only what PodSecurity calls restricted."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.wait(lambda: cluster.get("serviceaccount", "default", name), INFORMERS_S, f"the account of {name} is there")
    yield name
    # What is in it goes when its turn comes, five seconds later; a pod would keep a GPU from the next test until then.
    cluster.delete("namespace", name, wait=False)
    cluster.remove_pods(name)
