"""The ground of the end-to-end tests: one real node with its Ingress, the images loaded, the operator installed by Helm.

What stands on it, endpoints and traffic, is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chart_kit.charts import OPERATOR
from cluster_kit import lifecycle, processes, proxies, tools
from cluster_kit.cluster import Cluster, cluster_in
from cluster_kit.real_node import bring_up
from cluster_kit.real_node.node import RealNode
from e2e_kit.images import archives

SYSTEM = "whisper-system"
"""Namespace of the operator, as the README has it."""
RELEASE = "whisper-operator"
NAMED = "WHISPER_E2E_CLUSTER"
"""The folder of a cluster that is up already, and stays: for people who run one test again and again."""


@dataclass(frozen=True)
class Ground:
    """A handle to what is up for the whole session."""

    cluster: Cluster
    node: RealNode

    @property
    def origin(self) -> str:
        """The Ingress, over plain HTTP."""
        return f"http://{self.node.address}"


def prepare(folder: Path) -> None:
    """All that takes minutes on a machine that has none of it yet: tools, packages, images. `folder` is where the
    cluster will be. Raises Unavailable where the machine cannot have one.
    """
    if not os.environ.get(NAMED):
        bring_up.prepare(folder)
        tools.build()
    archives()


@contextmanager
def up(folder: Path) -> Iterator[Ground]:
    """A cluster with the images in it, or the one that is named; gone afterwards, however this process ends.

    Raises Unavailable where the machine cannot.
    """
    named = os.environ.get(NAMED, "")
    if named:
        cluster = cluster_in(Path(named))
        if cluster is None:
            raise FileNotFoundError(f"{NAMED}: there is no cluster in {named}")
        with _loaded(cluster) as ground:
            yield ground
        return
    prepare(folder)  # before the cluster takes its share of the machine
    layout = lifecycle.up(folder, owner=processes.this_process(), nodes="real")
    try:
        with _loaded(Cluster(layout.kubeconfig, layout.server, folder, layout)) as ground:
            yield ground
    finally:
        lifecycle.down(folder)


@contextmanager
def _loaded(cluster: Cluster) -> Iterator[Ground]:
    """With the images in it, and reached without the proxy that this machine may have."""
    if cluster.node is None:
        raise ValueError(f"the cluster in {cluster.folder} has no real node: NODES=real make cluster-up")
    for archive in archives():
        cluster.node.load(archive)
    with proxies.direct(cluster.node.address, cluster.node.host_address):
        yield Ground(cluster, cluster.node)


def install_operator(cluster: Cluster) -> None:
    """As the README says it. Leaves one that is there as it is."""
    if not cluster.helm("list", f"--namespace={SYSTEM}", "--short").strip():
        chart = [RELEASE, str(OPERATOR), f"--namespace={SYSTEM}", "--create-namespace"]
        cluster.helm("install", *chart, "--wait", "--timeout=3m")
