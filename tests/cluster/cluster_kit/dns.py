"""CoreDNS as a process of the real node: its command line, its configuration, and what it may read.

It knows the names of Services and nothing else: there is no way out to the world, and who asks for it hears so at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster_kit import tools
from cluster_kit.layout import Layout

USER = "coredns"
SUBJECTS: Mapping[str, str] = {"coredns": f"/CN={USER}"}
COREFILE = """{domain} in-addr.arpa ip6.arpa {{
    bind {address}
    errors
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
    }}
}}
. {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def coredns(layout: Layout) -> list[str]:
    return [str(tools.path("coredns")), "-conf", str(layout.node / "Corefile")]


COMPONENTS: Mapping[str, Callable[[Layout], list[str]]] = {"coredns": coredns}


def write_files(layout: Layout, domain: str) -> None:
    kubeconfig = layout.kubeconfig_of("coredns")
    text = COREFILE.format(address=layout.node_address, domain=domain, kubeconfig=kubeconfig)
    (layout.node / "Corefile").write_text(text)


def objects() -> list[dict[str, Any]]:
    """Its rights, which are those that its own project asks for."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "system:coredns"}
    reads = [("", ["namespaces", "pods", "services"]), ("discovery.k8s.io", ["endpointslices"])]
    rules = [{"apiGroups": [api], "resources": kinds, "verbs": ["list", "watch"]} for api, kinds in reads]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        },
    ]
