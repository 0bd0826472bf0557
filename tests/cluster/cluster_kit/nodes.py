"""Simulated nodes of a running cluster: added, taken away with all that is on them, and put back.

Which nodes there may be is data, in `simulated_nodes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cluster_kit.cluster import Cluster, Document
from cluster_kit.reading import is_ready
from cluster_kit.simulated_nodes import BY_NAME, CATALOGUE, NodeSpec

SIMULATED_LABEL = "type=simulated"
READY_LIMIT_S = 60.0


@dataclass(frozen=True)
class Nodes:
    """The nodes that kwok plays; a real node in the same cluster is never touched."""

    cluster: Cluster

    def names(self) -> set[str]:
        return {node["metadata"]["name"] for node in self._found()}

    def add(self, *nodes: NodeSpec | str) -> None:
        """Those named are of the catalogue. Returns once all are Ready. One of that name must not be there."""
        specs = [BY_NAME[node] if isinstance(node, str) else node for node in nodes]
        if not specs:
            return
        documents = {"apiVersion": "v1", "kind": "List", "items": [spec.document() for spec in specs]}
        self.cluster.kubectl("create", "-f-", stdin=json.dumps(documents))
        wanted = {spec.name for spec in specs}
        self.cluster.wait(lambda: wanted <= self._usable(), READY_LIMIT_S, f"{', '.join(sorted(wanted))} are Ready")

    def remove(self, *names: str) -> None:
        """As when a machine goes away for good: its pods go with it."""
        if not names:
            return
        self.cluster.delete("node", *names)
        pods = [pod for pod in self.cluster.find("pods") if pod["spec"].get("nodeName") in names]
        for pod in pods:
            self.cluster.remove_pods(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def only(self, *nodes: NodeSpec | str) -> None:
        """These and no others, made anew where they differ from what they should be."""
        self._become([BY_NAME[node] if isinstance(node, str) else node for node in nodes])

    def restore(self) -> None:
        """The whole catalogue, as it is at the start."""
        self._become(CATALOGUE)

    def _become(self, specs: Iterable[NodeSpec]) -> None:
        wanted = {spec.name: spec for spec in specs}
        there = {node["metadata"]["name"]: node for node in self._found()}
        kept = {name for name, spec in wanted.items() if name in there and _is_as(spec, there[name])}
        self.remove(*sorted(set(there) - kept))
        self.add(*(spec for name, spec in wanted.items() if name not in kept))

    def _found(self) -> list[Document]:
        return self.cluster.find("nodes", selector=SIMULATED_LABEL)

    def _usable(self) -> set[str]:
        """Ready, and without the taint that a new node has until the controllers have seen that."""
        return {node["metadata"]["name"] for node in self._found() if _is_usable(node)}


def _is_usable(node: Document) -> bool:
    keys = {taint["key"] for taint in node["spec"].get("taints", [])}
    return is_ready(node) and "node.kubernetes.io/not-ready" not in keys and not node["spec"].get("unschedulable")


def _is_as(spec: NodeSpec, node: Document) -> bool:
    wanted = spec.document()
    same_labels = node["metadata"]["labels"] == wanted["metadata"]["labels"]
    same_taints = node["spec"].get("taints", []) == wanted["spec"]["taints"]
    return (
        _is_usable(node) and same_labels and same_taints and node["status"]["capacity"] == wanted["status"]["capacity"]
    )
