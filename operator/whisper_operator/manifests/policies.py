"""PodDisruptionBudget and NetworkPolicy of the pods."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from whisper_operator import names
from whisper_operator.manifests.documents import metadata, plain, pod_selector, present
from whisper_operator.resource.access import NetworkPolicy
from whisper_operator.resource.choices import Egress
from whisper_operator.resource.model import Model
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Defaults, Settings

DNS_PORTS = (53, 5353)
"""The second is that of OpenShift's pods: a policy sees the port behind the Service."""
HUB = "https://huggingface.co"
KEYS_OF_AWS = ("169.254.170.23/32", "fd00:ec2::23/128", "169.254.169.254/32", "fd00:ec2::254/128")
"""Where AWS gives keys at port 80: EKS Pod Identity to the service account, IMDS to the node."""


def make_disruption_budget(endpoint: Endpoint) -> dict[str, Any] | None:
    """By default one pod may be evicted at a time. A pod that is not ready never blocks a node drain."""
    wanted = endpoint.spec.disruption_budget
    if not wanted.enabled:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(endpoint),
        "spec": {
            "maxUnavailable": wanted.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": pod_selector(endpoint),
        },
    }


def make_preload_policy(endpoint: Endpoint, settings: Settings) -> dict[str, Any] | None:
    """Of the pods that preload a model: nothing inwards, and outwards what the endpoint's own pods may."""
    wanted = endpoint.spec.access.network_policy
    if not wanted.enabled:
        return None
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(endpoint, name=names.preload_name(endpoint.name)),
        "spec": {
            "podSelector": {"matchLabels": {names.PRELOAD_LABEL: endpoint.name}},
            "policyTypes": _types(wanted),
            **_egress(endpoint, settings.defaults),
        },
    }


def make_network_policy(endpoint: Endpoint, settings: Settings) -> dict[str, Any] | None:
    """HTTP for everyone, or for the peers in the spec; metrics for the endpoint's namespace and the monitoring namespace.

    Outwards what `egress` says. A NetworkPolicy knows no host names: the hub is port 443 of any address.
    """
    wanted = endpoint.spec.access.network_policy
    if not wanted.enabled:
        return None
    monitoring: list[dict[str, Any]] = [{"podSelector": {}}]
    if settings.monitoring_namespace:
        labels = {"kubernetes.io/metadata.name": settings.monitoring_namespace}
        monitoring.append({"namespaceSelector": {"matchLabels": labels}})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(endpoint),
        "spec": {
            "podSelector": pod_selector(endpoint),
            "policyTypes": _types(wanted),
            "ingress": [
                {"ports": [_port(names.HTTP_PORT)], **present(**{"from": plain(wanted.from_)})},
                {"ports": [_port(names.METRICS_PORT)], "from": monitoring},
            ],
            **_egress(endpoint, settings.defaults),
        },
    }


def _types(wanted: NetworkPolicy) -> list[str]:
    return ["Ingress"] if wanted.egress is Egress.ANY else ["Ingress", "Egress"]


def _egress(endpoint: Endpoint, defaults: Defaults) -> dict[str, Any]:
    wanted = endpoint.spec.access.network_policy
    if wanted.egress is Egress.ANY:
        return {}
    peers = [{"to": plain(wanted.to)}] if wanted.to else []
    if wanted.egress is Egress.NONE:
        return {"egress": peers}
    dns = {"ports": [_port(port, protocol) for port in DNS_PORTS for protocol in ("UDP", "TCP")]}
    servers = (HUB, _store_of(endpoint), defaults.http_proxy, defaults.https_proxy, defaults.hf_endpoint)
    ports = sorted({port_of(server) for server in servers if server})
    return {"egress": [dns, {"ports": [_port(port) for port in ports]}, *_keys_of_aws(endpoint.spec.model), *peers]}


def _keys_of_aws(model: Model) -> list[dict[str, Any]]:
    """Nothing but an s3:// model without a Secret asks for them: the node's key may open more than the bucket."""
    if not model.id.startswith("s3://") or (model.s3 and model.s3.credentials_secret_ref):
        return []
    return [{"ports": [_port(80)], "to": [{"ipBlock": {"cidr": network}} for network in KEYS_OF_AWS]}]


def _store_of(endpoint: Endpoint) -> str:
    """The server that the model comes from, if not the hub; empty: the hub, or AWS, which has the hub's port."""
    model = endpoint.spec.model
    if model.s3 and model.s3.endpoint_url:
        return model.s3.endpoint_url
    is_server = model.id.startswith(("oci://", "http://", "https://"))
    return model.id.replace("oci://", "https://") if is_server else ""


def port_of(address: str) -> int:
    """The port of an address such as http://proxy:3128; of a proxy without a scheme, as curl reads it, 80 by default."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return parts.port or (443 if parts.scheme == "https" else 80)


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"protocol": protocol, "port": number}
