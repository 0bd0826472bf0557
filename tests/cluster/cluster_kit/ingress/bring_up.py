"""The steps in which the Ingress comes up, for `lifecycle`: programs, objects, and the ports of the node.

What is told to whom is in `components` and `objects`.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable

from cluster_kit import certificates
from cluster_kit.ingress import components, envoy, kinds, objects
from cluster_kit.layout import Layout
from cluster_kit.real_node import sandbox


def prepare() -> None:
    """What it takes besides tools. Raises Unavailable."""
    envoy.fetch()
    kinds.fetch()


def install(layout: Layout, kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Before Contour starts, which ends where its kinds are not there. `kubectl` takes arguments and stdin."""
    command = [*sandbox.prefix(layout), "sh", "-euc", components.redirects(layout)]
    subprocess.run(command, env=sandbox.environment(layout), check=True, capture_output=True)
    first = [json.dumps(objects.namespace()), *(file.read_text() for file in kinds.files())]
    kubectl("create", "-f-", stdin="\n---\n".join(first)).check_returncode()
    kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s").check_returncode()
    file = layout.certificates / f"{objects.CERTIFICATE}.crt"
    secret = certificates.tls_secret(
        file, file.with_suffix(".key"), name=objects.CERTIFICATE, namespace=objects.NAMESPACE
    )
    items = {"apiVersion": "v1", "kind": "List", "items": [secret, *objects.objects()]}
    kubectl("create", "-f-", stdin=json.dumps(items)).check_returncode()


def is_ready(layout: Layout) -> bool:
    """Whether Envoy does what Contour says. Its ports open with the first route."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{layout.node_address}:{components.STATUS_PORT}/ready", timeout=5):
            return True
    except OSError:
        return False
