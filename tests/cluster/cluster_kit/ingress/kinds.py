"""The kinds that Contour works on, and its roles: as they come with the Go modules that its program is built from.

They are copied into the cache of the tools once, so that a machine without a network that has them goes on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster_kit import tools

MANIFEST = "contour"
CONTOURS = ("examples/contour/01-crds.yaml", "examples/contour/02-role-contour.yaml")
GATEWAY_APIS = "config/crd/standard/*.yaml"
DISABLED = ("backendtlspolicies", "tcproutes", "tlsroutes")
"""Not among the standard ones: what Contour must not look for."""


def files() -> list[Path]:
    """Documents for `kubectl create`, which are there after `fetch`."""
    return sorted(_folder().glob("*.yaml"))


def fetch() -> None:
    """Raises Unavailable."""
    with tools.locked("contour-kinds"):
        if _folder().exists():
            return
        contour = tools.module(MANIFEST, "github.com/projectcontour/contour")
        gateway_api = tools.module(MANIFEST, "sigs.k8s.io/gateway-api")
        unfinished = _folder().with_name(f"{_folder().name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for source in [*(contour / name for name in CONTOURS), *gateway_api.glob(GATEWAY_APIS)]:
            shutil.copyfile(source, unfinished / source.name)
        unfinished.rename(_folder())


def _folder() -> Path:
    return tools.cache() / f"{tools.key(tools.TOOLS[MANIFEST])}-kinds"
