"""make cluster-up and cluster-down: `python -m cluster_kit up | down | tools [simulated | real | charts | all]`.

On the standard output is what a shell evaluates, on the other what people read. The folder is $WHISPER_CLUSTER_DIR.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster_kit import lifecycle, proxies, tools
from cluster_kit.cluster import Cluster, cluster_in
from cluster_kit.layout import REAL, SIMULATED
from cluster_kit.nodes import Nodes
from cluster_kit.real_node import bring_up
from cluster_kit.simulated_nodes import CATALOGUE
from e2e_kit.images import archives


def folder() -> Path:
    return Path(os.environ.get("WHISPER_CLUSTER_DIR") or "/tmp/whisper-cluster").absolute()


def nodes() -> str:
    asked = os.environ.get("NODES") or SIMULATED
    if asked not in {SIMULATED, REAL}:
        raise SystemExit(f"cluster-up: NODES is {SIMULATED} or {REAL}, not {asked}")
    return asked


def up() -> None:
    cluster = _running() or _started()
    _say(f"kubectl and helm that fit it: export PATH={tools.cache() / 'bin'}:$PATH")
    if cluster.node is not None:
        _say(f"its Ingress is at http://{cluster.node.address}")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    layout = cluster.own()
    hosts = (layout.address, layout.node_address) if layout.is_real else (layout.address,)
    for name, value in proxies.exceptions(os.environ, hosts).items():
        print(f"export {name}={shlex.quote(value)}")


def _running() -> Cluster | None:
    """The one that is up in the folder, with the images of the sources as they are now."""
    cluster = cluster_in(folder())
    if cluster is None:
        return None
    dead = lifecycle.not_running(cluster.own())
    if dead:
        raise SystemExit(f"cluster-up: {', '.join(dead)} in {folder()} is not running: make cluster-down, then again")
    is_of = REAL if cluster.own().is_real else SIMULATED
    if nodes() != is_of:
        raise SystemExit(f"cluster-up: {folder()} has one with NODES={is_of}: make cluster-down, then again")
    _load(cluster)
    _say("is up already")
    return cluster


def _started() -> Cluster:
    asked = nodes()
    lifecycle.check_free(folder())  # before minutes of building
    tools.build(tools.FOR[asked])
    if asked == REAL:
        bring_up.prepare(folder())  # refuses a machine that cannot before anything is built
        archives()
    started_s = time.monotonic()
    layout = lifecycle.up(folder(), nodes=asked)
    cluster = Cluster(layout.kubeconfig, layout.server, folder(), layout)
    if not layout.is_real:
        Nodes(cluster).add(*CATALOGUE)
    _load(cluster)
    which = "one real node" if layout.is_real else f"{len(CATALOGUE)} simulated nodes"
    _say(f"up in {time.monotonic() - started_s:.1f} s, with {which}; logs in {layout.logs}")
    return cluster


def _load(cluster: Cluster) -> None:
    if cluster.node is not None:
        for archive in archives():
            _say(f"has {', '.join(cluster.node.load(archive))}")


def down() -> None:
    _say("gone, with all that was in it" if lifecycle.down(folder()) else f"there is none in {folder()}")


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def main(verb: str, purpose: str = "all") -> None:
    verbs: Mapping[str, Callable[[], None]] = {"up": up, "down": down, "tools": lambda: tools.build(tools.FOR[purpose])}
    try:
        verbs[verb]()
    except (tools.Unavailable, lifecycle.NotReady, FileExistsError) as refused:
        raise SystemExit(f"cluster: {refused}") from None


if __name__ == "__main__":
    main(*sys.argv[1:])
