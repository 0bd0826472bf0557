"""Contour and Envoy as processes of the real node: their command lines, and the files that these name.

Contour keeps all its defaults, time-outs above all: what the operator writes has to get along with them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping

from cluster_kit import certificates, tools
from cluster_kit.ingress import envoy, kinds, objects
from cluster_kit.layout import Layout

XDS_PORT = 8001
STATUS_PORT = 8002
"""Of Envoy, open to this machine: /ready once Contour has told it what to do, /stats and /stats/prometheus."""
SUBJECTS: Mapping[str, str] = {"contour": f"/CN={objects.USER}"}


def contour_serve(layout: Layout) -> list[str]:
    return [
        str(tools.path("contour")),
        "serve",
        f"--kubeconfig={layout.kubeconfig_of('contour')}",
        f"--config-path={layout.node / 'contour.json'}",
        f"--ingress-class-name={objects.CLASS}",
        f"--ingress-status-address={layout.node_address}",
        "--insecure",
        "--xds-address=127.0.0.1",
        f"--xds-port={XDS_PORT}",
        "--http-address=127.0.0.1",
        "--health-address=127.0.0.1",
        f"--stats-address={layout.node_address}",
        f"--stats-port={STATUS_PORT}",
        "--disable-leader-election",
        *(f"--disable-feature={feature}" for feature in kinds.DISABLED),
    ]


def envoy_proxy(layout: Layout) -> list[str]:
    return [
        str(envoy.path()),
        *("--config-path", str(layout.node / "envoy.json")),
        *("--service-cluster", objects.NAMESPACE),
        *("--service-node", "envoy"),
        *("--concurrency", "2"),
        *("--log-level", "info"),
        "--disable-hot-restart",
    ]


COMPONENTS: Mapping[str, Callable[[Layout], list[str]]] = {"contour": contour_serve, "envoy": envoy_proxy}


def redirects(layout: Layout) -> str:
    """A script for the node. With a Gateway, Contour has Envoy listen at 8000 above each port; elsewhere a Service of
    type LoadBalancer brings them together."""
    chains = (f"PREROUTING -d {layout.node_address}", f"OUTPUT -d {layout.node_address}", "OUTPUT -o lo")
    return "\n".join(
        f"iptables -t nat -A {chain} -p tcp --dport {port} -j REDIRECT --to-ports {port + 8000}"
        for chain in chains
        for port in (80, 443)
    )


def write_files(layout: Layout) -> None:
    """What both are configured by. Kubeconfigs are made where those of all components are."""
    reference = {"name": objects.GATEWAY, "namespace": objects.NAMESPACE}
    (layout.node / "contour.json").write_text(json.dumps({"gateway": {"gatewayRef": reference}}))
    bootstrap = ["bootstrap", str(layout.node / "envoy.json"), "--admin-address=/run/envoy.sock"]
    xds = ["--xds-address=127.0.0.1", f"--xds-port={XDS_PORT}"]
    subprocess.run([str(tools.path("contour")), *bootstrap, *xds], check=True, capture_output=True)
    names = f"DNS:{objects.DOMAIN},DNS:*.{objects.DOMAIN},IP:{layout.node_address}"
    certificates.make_certificate(layout, objects.CERTIFICATE, f"/CN={objects.DOMAIN}", addresses=names)
