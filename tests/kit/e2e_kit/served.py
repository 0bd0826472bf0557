"""A WhisperEndpoint whose pods really serve, and the OpenAI client that reaches them through the Ingress.

Each endpoint has a path of its own on the node's one address, so that any number are up at once. How traffic is made
and judged is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from cluster_kit.cluster import Document
from cluster_kit.reading import is_ready
from operator_kit.endpoints import make_endpoint, merged
from operator_kit.live_endpoint import LiveEndpoint

READY_S = 120.0
"""From `kubectl apply` to Ready, on a machine that does other things besides."""
SMALL: Mapping[str, Any] = {
    "model": {"id": "demo"},
    "gpu": {"class": "none"},
    "rollout": {"drainSeconds": 5, "shutdownSeconds": 60, "startupSeconds": 120},
    "pod": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}},
}
"""Several fit the node; they compute as fast as it lets them. The default drain of 15 s has a test of its own."""
GATEWAY: Mapping[str, str] = {"namespace": "projectcontour", "name": "contour"}


@dataclass(frozen=True)
class Served(LiveEndpoint):
    """A handle; nothing is there before `apply`. `origin` is the Ingress, such as http://10.99.0.2."""

    origin: str = ""

    @property
    def path(self) -> str:
        return f"/{self.namespace}/{self.name}"

    @property
    def base_url(self) -> str:
        """What OpenAI's clients take, when the endpoint is exposed by `self.path` for any host."""
        return f"{self.origin}{self.path}/v1"

    def apply(self, spec: Mapping[str, Any] | None = None) -> None:
        """The demo model by Ingress under a path of its own, with `spec` merged over; null removes a field."""
        whole = merged(merged(SMALL, {"exposure": {"ingress": {"path": self.path}}}), spec or {})
        document = make_endpoint(whole, namespace=self.namespace, name=self.name)
        self.cluster.apply(document, manager="user")

    def up(self, spec: Mapping[str, Any] | None = None) -> Served:
        """Applied, ready with its latest spec, and reached through the Ingress."""
        self.apply(spec)
        return self.wait_until_current()

    def wait_until_current(self, limit_s: float = READY_S) -> Served:
        """The status speaks of the spec written last, all pods run it, and older ones are out of the Service."""
        self.cluster.wait(self._is_current, limit_s, f"{self.name} runs what its spec asks for")
        self.expect(limit_s, Ready="True Ready")
        return self

    def client(
        self,
        *,
        max_retries: int = 0,
        timeout_s: float = 600,
        api_key: str = "none",
        http_client: httpx.Client | None = None,
    ) -> openai.OpenAI:
        """OpenAI's own, unmodified. Without retries unless asked for: a failed request is to be seen."""
        return openai.OpenAI(
            base_url=self.base_url,
            api_key=api_key,
            max_retries=max_retries,
            timeout=timeout_s,
            http_client=http_client,
        )

    def transcribe(self, audio: bytes, **fields: Any) -> str:
        """The text of a file, by the model `whisper-1`."""
        with self.client() as client:
            text: str = client.audio.transcriptions.create(file=("clip.wav", audio), model="whisper-1", **fields).text
            return text

    def running_pods(self) -> list[Document]:
        """Those that are not on their way out."""
        return [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self) -> list[Document]:
        return [pod for pod in self.running_pods() if is_ready(pod)]

    def _is_current(self) -> bool:
        document = self.document()
        status, conditions = document.get("status", {}), document.get("status", {}).get("conditions", [])
        reasons = {one["type"]: (one["status"], one["reason"]) for one in conditions}
        return (
            status.get("observedGeneration") == document["metadata"]["generation"]
            and status.get("readyReplicas", 0) == document["spec"]["replicas"]
            and reasons.get("Progressing") == ("True", "RolledOut")
        )


def by_gateway(endpoint: Served, *, hostnames: Sequence[str] = ()) -> dict[str, Any]:
    """Spec: reached by an HTTPRoute of the cluster's Gateway, by the same path and not by an Ingress."""
    route = {"parentRefs": [GATEWAY], "path": endpoint.path, "hostnames": list(hostnames)}
    return {"exposure": {"ingress": None, "gateway": route}}
