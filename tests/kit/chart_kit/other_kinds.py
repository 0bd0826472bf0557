"""Kinds of others that a cluster may or may not have: HTTPRoute, those of the Prometheus operator, KEDA's ScaledObject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster_kit.cluster import Cluster

FOLDER = Path(__file__).resolve().parents[2] / "cluster/crds"


@contextmanager
def other_kinds(cluster: Cluster) -> Iterator[None]:
    """All of them. Those that were not there before are gone afterwards."""
    files = {path: f"{path.stem.split('_')[1]}.{path.stem.split('_')[0]}" for path in sorted(FOLDER.glob("*.yaml"))}
    missing = {
        path: name
        for path, name in files.items()
        if not cluster.kubectl("get", "crd", name, "--ignore-not-found", "-oname")
    }
    for path in missing:
        cluster.kubectl("apply", "--server-side", f"--filename={path}", "--validate=strict")
    for name in missing.values():
        cluster.kubectl("wait", f"crd/{name}", "--for=condition=Established", "--timeout=60s")
    try:
        yield
    finally:
        cluster.delete("crd", *missing.values())
