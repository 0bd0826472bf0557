"""The author's own containers in the pods: those that end before the server starts, and sidecars.

A sidecar is an init container that is restarted: it runs before the server's start and after its end, so that a proxy
serves the download of the model and the last requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from whisper_operator.manifests.documents import from_registry, plain
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

UNPRIVILEGED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What PodSecurity `restricted` asks of each container besides what the pod says for all."""


def init_containers(endpoint: Endpoint, settings: Settings) -> list[dict[str, Any]]:
    """`initContainers` of the pod: the sidecars first, because they keep running."""
    pod = endpoint.spec.pod
    sidecars = [{**one, "restartPolicy": "Always"} for one in _made(pod.sidecars, settings)]
    return [*sidecars, *_made(pod.init_containers, settings)]


def _made(containers: Iterable[Document], settings: Settings) -> Iterator[dict[str, Any]]:
    for each in containers:
        yield {
            "imagePullPolicy": settings.defaults.image_pull_policy,
            **plain(each),
            "image": from_registry(each["image"], settings.defaults.image_registry),
            "securityContext": plain(UNPRIVILEGED),
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
