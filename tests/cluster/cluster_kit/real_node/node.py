"""A running real node, as tests see it: images loaded, commands run on it, and the processes of its pods.

cluster.node.load(archive)
cluster.node.run(["curl", "-fsS", "http://10.88.0.7:8000/health"])
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_kit.layout import Layout
from cluster_kit.real_node import cgroups, sandbox
from cluster_kit.real_node.components import NAME


class NoSuchContainer(Exception):
    """The pod has none of that name that runs."""


@dataclass(frozen=True)
class RealNode:
    """A handle. It holds nothing open."""

    layout: Layout
    name: str = NAME

    @property
    def address(self) -> str:
        return self.layout.node_address

    @property
    def host_address(self) -> str:
        """Where pods reach what listens on this machine."""
        return self.layout.host_address

    def load(self, archive: Path) -> list[str]:
        """Import the images of an OCI or Docker archive; their names."""
        said = self.run(["ctr", "--namespace=k8s.io", "images", "import", str(archive)], limit_s=300).stdout
        return [line.split()[1] for line in said.splitlines() if line.startswith("unpacking ")]

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, limit_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command among the node's own processes, mounts and interfaces. Raises CalledProcessError."""
        command = [*sandbox.prefix(self.layout), *argv]
        return subprocess.run(
            command,
            env=sandbox.environment(self.layout),
            input=stdin,
            capture_output=True,
            text=True,
            check=check,
            timeout=limit_s,
        )

    def pids(self, pod: Mapping[str, Any], container: str | None = None) -> list[int]:
        """The processes, as this machine numbers them, of a container of a pod that `cluster.get` has given; of its
        first one where none is named."""
        found = cgroups.processes_of(self.layout, _container_id(pod, container))
        if not found:
            raise NoSuchContainer(f"{container or 'the container'} of {pod['metadata']['name']} has no process")
        return found

    def shim(self, pod: Mapping[str, Any]) -> int:
        """The process of containerd's that all containers of this pod are children of."""
        mine = set(self.pids(pod))
        (parent,) = set(cgroups.parents_of(mine).values()) - mine
        return parent


def _container_id(pod: Mapping[str, Any], name: str | None) -> str:
    for status in pod.get("status", {}).get("containerStatuses", []):
        if name in {None, status["name"]} and "containerID" in status:
            return str(status["containerID"]).rpartition("//")[2]
    raise NoSuchContainer(f"{pod['metadata']['name']} has no container {name or ''} yet")
