"""The Service, the ServiceAccount and the PodMonitor.

The Service has no metrics port, because Prometheus scrapes each pod.
"""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.documents import metadata, pod_selector, present
from whisper_operator.manifests.proxies import service_annotations
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings


def make_service(endpoint: Endpoint, controller: str) -> dict[str, Any]:
    """Port 80 to the server's port. `controller` is the Ingress controller, if there is one."""
    has_ingress = endpoint.spec.exposure is not None and endpoint.spec.exposure.ingress is not None
    of_controller = service_annotations(controller) if has_ingress else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(endpoint, annotations={**of_controller, **endpoint.spec.service.annotations}),
        "spec": {
            "type": str(endpoint.spec.service.type),
            "selector": names.selector_of(endpoint.name),
            **present(
                loadBalancerClass=endpoint.spec.service.load_balancer_class,
                loadBalancerSourceRanges=list(endpoint.spec.service.load_balancer_source_ranges),
            ),
            "ports": [
                {
                    "name": names.HTTP_PORT_NAME,
                    "port": names.SERVICE_PORT,
                    "targetPort": names.HTTP_PORT_NAME,
                    "protocol": "TCP",  # no appProtocol: with it Azure probes / for the health of the pods
                }
            ],
        },
    }


def make_service_account(endpoint: Endpoint) -> dict[str, Any] | None:
    """A ServiceAccount without rights and without a token; none if the spec names another one."""
    if endpoint.spec.pod.service_account_name:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(endpoint),
        "automountServiceAccountToken": False,
    }


ENDPOINT_SERIES_LABEL = "whisper_endpoint"
"""Label of all series of the pods: the endpoint's name. Prometheus' operator already uses `endpoint`."""


def make_pod_monitor(endpoint: Endpoint, settings: Settings) -> dict[str, Any] | None:
    """The PodMonitor, unless the chart turns PodMonitors off."""
    if not settings.pod_monitors:
        return None
    source = "__meta_kubernetes_pod_label_" + names.ENDPOINT_LABEL.translate(str.maketrans("./-", "___"))
    relabeling = {"action": "replace", "sourceLabels": [source], "targetLabel": ENDPOINT_SERIES_LABEL}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(endpoint, labels=settings.pod_monitor_labels),
        "spec": {
            "selector": pod_selector(endpoint),
            "podMetricsEndpoints": [{"port": names.METRICS_PORT_NAME, "path": "/metrics", "relabelings": [relabeling]}],
        },
    }
