"""The steps in which a real node comes up, for `lifecycle`: sandbox, files, containerd, kubelet, kube-proxy,
CoreDNS and the Ingress.

What the components are told is in `components`.
"""

from __future__ import annotations

from pathlib import Path

from cluster_kit import tools
from cluster_kit.ingress import bring_up as ingress
from cluster_kit.layout import Layout
from cluster_kit.processes import Process
from cluster_kit.real_node import packages, sandbox
from cluster_kit.real_node.components import COMPONENTS


def prepare(folder: Path) -> None:
    """What a node takes that is not made for it: tools, packages, and a machine that can. Raises Unavailable."""
    sandbox.check(folder)
    tools.build(tools.NODE_TOOLS)
    packages.unpack()
    ingress.prepare()


def start_component(layout: Layout, name: str) -> Process:
    return sandbox.start_inside(layout, name, COMPONENTS[name](layout), sandbox.environment(layout))
