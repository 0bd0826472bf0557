"""What an endpoint is on the cluster: whole Kubernetes documents, from its spec and the operator's settings.

Pure: the same in, the same out, and nothing that came in is changed or shared. Nothing here asks a cluster; what
depends on one (which kinds it serves, whose class an Ingress has) is passed in.
"""

from __future__ import annotations

from typing import Any

from whisper_operator.manifests.deployment import make_deployment
from whisper_operator.manifests.policies import make_disruption_budget, make_network_policy
from whisper_operator.manifests.resolved import resolve
from whisper_operator.manifests.routes import make_http_route, make_ingress, route_keys, url_of
from whisper_operator.manifests.scaling import make_autoscaler
from whisper_operator.manifests.services import make_pod_monitor, make_service, make_service_account
from whisper_operator.manifests.volumes import make_cache_claim
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

__all__ = ["make_children", "resolve", "route_keys", "url_of"]

OPTIONAL_KINDS = frozenset({"HTTPRoute", "PodMonitor"})
"""Kinds that a cluster may not have."""


def make_children(
    endpoint: Endpoint,
    settings: Settings,
    *,
    served_kinds: frozenset[str],
    ingress_controller: str,
    default_class: str = "",
    deployed: Document | None = None,
) -> tuple[dict[str, Any], ...]:
    """All children in the order in which they are applied: what pods need comes before them.

    `served_kinds` are those of OPTIONAL_KINDS that the cluster has. `ingress_controller` is a short name (contour,
    nginx, haproxy, alb, openshift, none) or `spec.controller` of the Ingress' class. `default_class` is the name of the
    cluster's default IngressClass, if it has one. `deployed` is the Deployment that there is: pods whose settings are
    the same keep their template. SpecError: it cannot be done.
    """
    children = (
        make_service_account(endpoint),
        make_cache_claim(endpoint),
        make_network_policy(endpoint, settings),
        make_service(endpoint, ingress_controller),
        make_deployment(endpoint, settings, deployed),
        make_disruption_budget(endpoint),
        make_ingress(endpoint, ingress_controller, default_class),
        make_http_route(endpoint),
        make_autoscaler(endpoint),
        make_pod_monitor(endpoint, settings),
    )
    missing = OPTIONAL_KINDS - served_kinds
    return tuple(child for child in children if child is not None and child["kind"] not in missing)
