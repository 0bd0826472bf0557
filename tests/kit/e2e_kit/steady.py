"""The endpoint that traffic runs against, and what is done to its pods: rolled, deleted, scaled, drained, killed.

Every function returns when it is over, with the last of the old pods gone. What clients see of it is not known here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_kit import tools
from cluster_kit.cluster import Document
from cluster_kit.reading import container, is_ready
from cluster_kit.real_node.cgroups import parents_of
from e2e_kit.served import Served
from whisper_operator.names import selector_text

OVER_S = 150.0
"""For whatever is done, until the last pod that it ended is gone."""


@dataclass(frozen=True)
class Steady(Served):
    """A handle, as `Served`."""

    def change(self, spec: Mapping[str, Any]) -> None:
        """Merge it into the endpoint's spec, as people do."""
        patch = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "wep", self.name, f"--namespace={self.namespace}", "--type=merge", "-p", patch)

    def settled(self, n_pods: int = 2) -> list[Document]:
        """Wait until so many pods are ready, current, and all that there are; these."""
        self.wait_until_current(OVER_S)

        def only() -> list[Document]:
            pods = self.pods()
            return pods if len(pods) == n_pods and all(is_ready(pod) for pod in pods) else []

        return self.cluster.wait(only, OVER_S, f"{n_pods} pods are ready, and no other is there")

    def scale(self, n_pods: int) -> None:
        """By the scale subresource, as an autoscaler does."""
        self.cluster.kubectl("scale", f"wep/{self.name}", f"--namespace={self.namespace}", f"--replicas={n_pods}")
        self.settled(n_pods)

    def wait_for_restart(self, before: Document) -> float:
        """Wait until the container of this pod has restarted and is ready; the seconds that it took."""
        start_s = time.monotonic()
        name, n_before = before["metadata"]["name"], container(before).get("restartCount", 0)

        def started_anew() -> bool:
            pod = self.cluster.get("pod", name, self.namespace)
            return container(pod).get("restartCount", 0) > n_before and is_ready(pod)

        self.cluster.wait(started_anew, OVER_S, f"{name} has restarted and is ready")
        return time.monotonic() - start_s


@dataclass(frozen=True)
class Drain:
    """A `kubectl drain` that runs."""

    popen: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def has_been_refused(self) -> bool:
        """Whether an eviction was held back by the disruption budget."""
        return "violate the pod's disruption budget" in self.said()

    def finish(self, limit_s: float = OVER_S) -> None:
        """Raises AssertionError where it gave up."""
        code = self.popen.wait(limit_s)
        assert code == 0, self.said()


@contextmanager
def draining(served: Served, node: str, scratch: Path) -> Iterator[Drain]:
    """Evict the endpoint's pods from the node, which takes no new ones until somebody says so; at the latest the end."""
    log = scratch / "drain.log"
    options = ["--delete-emptydir-data", f"--pod-selector={selector_text(served.name)}", f"--timeout={OVER_S:.0f}s"]
    cluster = served.cluster
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(cluster.folder),  # without one, kubectl has its cache in the current folder
        "KUBECONFIG": str(cluster.kubeconfig),
    }
    with log.open("wb") as out:
        popen = subprocess.Popen(
            [str(tools.path("kubectl")), "drain", node, *options], env=environment, stdout=out, stderr=out
        )
    try:
        yield Drain(popen, log)
    finally:
        popen.kill()
        popen.wait()
        served.cluster.kubectl("uncordon", node)


def first_of(pids: Collection[int]) -> int:
    """The process that the others of a container are children of."""
    (first,) = (pid for pid, parent in parents_of(pids).items() if parent not in pids)
    return first


def seconds(done: Callable[[], object]) -> float:
    """That it takes."""
    start_s = time.monotonic()
    done()
    return time.monotonic() - start_s
