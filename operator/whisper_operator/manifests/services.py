"""The Service and the ServiceAccount. Metrics have no place in the Service: they are for monitoring, pod by pod."""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.metadata import metadata
from whisper_operator.manifests.proxies import service_annotations
from whisper_operator.resource.spec import Endpoint


def make_service(endpoint: Endpoint, controller: str) -> dict[str, Any]:
    """Port 80 to the server's. `controller` is that of the Ingress, if there is one."""
    has_ingress = endpoint.spec.exposure is not None and endpoint.spec.exposure.ingress is not None
    told = service_annotations(controller) if has_ingress else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(endpoint, annotations={**told, **endpoint.spec.service.annotations}),
        "spec": {
            "type": str(endpoint.spec.service.type),
            "selector": names.selector_of(endpoint.name),
            "ports": [
                {
                    "name": names.HTTP_PORT_NAME,
                    "port": names.SERVICE_PORT,
                    "targetPort": names.HTTP_PORT_NAME,
                    "protocol": "TCP",  # no appProtocol: Azure would ask for / to see whether the pods are well
                }
            ],
        },
    }


def make_service_account(endpoint: Endpoint) -> dict[str, Any] | None:
    """An account without rights and without a token; none where the spec names another."""
    if endpoint.spec.pod.service_account_name:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(endpoint),
        "automountServiceAccountToken": False,
    }
