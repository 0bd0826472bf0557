"""The desired state of an endpoint: complete Kubernetes documents, from its spec and the operator's settings.

Pure: the result depends on the arguments only, and does not share mutable data with them. What depends on the cluster
(which kinds it serves, the controller of an Ingress class) is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_operator.kinds import OPTIONAL, SCALED_OBJECT
from whisper_operator.manifests.cluster_policy import check_cluster_policy
from whisper_operator.manifests.default_image import earlier_default, has_rolled_out, keeping, staged_image
from whisper_operator.manifests.deployment import make_deployment
from whisper_operator.manifests.device_claims import make_claim_template
from whisper_operator.manifests.policies import make_disruption_budget, make_network_policy, make_preload_policy
from whisper_operator.manifests.preload import held_replicas, make_preload_job, needs_job, waits_for_preload
from whisper_operator.manifests.resolved import image_of, resolve
from whisper_operator.manifests.routes import (
    RouteKey,
    make_http_route,
    make_ingress,
    names_no_class,
    route_keys,
    url_of,
)
from whisper_operator.manifests.scaling import make_autoscaler
from whisper_operator.manifests.services import make_pod_monitor, make_service, make_service_account
from whisper_operator.manifests.volumes import make_cache_claim
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

__all__ = [
    "RouteKey",
    "earlier_default",
    "has_rolled_out",
    "held_replicas",
    "image_of",
    "keeping",
    "make_children",
    "names_no_class",
    "resolve",
    "route_keys",
    "staged_image",
    "url_of",
    "waits_for_preload",
]

OPTIONAL_KINDS = frozenset(kind.kind for kind in OPTIONAL)
"""Kinds that a cluster may lack."""


def make_children(
    endpoint: Endpoint,
    settings: Settings,
    *,
    served_kinds: frozenset[str],
    ingress_controller: str,
    default_class: str = "",
    deployed: Document | None = None,
    jobs: Sequence[Document] = (),
    in_turn: bool = False,
) -> tuple[dict[str, Any], ...]:
    """All children in the order in which they are applied: what the pods need comes before the Deployment.

    `served_kinds` are those of OPTIONAL_KINDS that the cluster has. `ingress_controller` is a short name (contour,
    nginx, haproxy, alb, openshift, none) or `spec.controller` of the Ingress' class. `default_class` is the name of the
    cluster's default IngressClass, if it has one. `deployed` is the current Deployment: while the settings of its pods
    are the same, they keep their template. `in_turn`: it gets a new default image in a staged rollout. `jobs` are the Jobs of the
    endpoint: while the model is not preloaded, there is a Job and no Deployment, and an earlier one is not to be touched.
    Raises SpecError if the spec cannot be applied.
    """
    check_cluster_policy(endpoint, settings)
    is_waiting, has_job = waits_for_preload(endpoint, deployed, jobs), needs_job(endpoint, deployed)
    deployment = make_deployment(endpoint, settings, deployed, jobs=jobs, in_turn=in_turn)
    children = (
        make_service_account(endpoint),
        make_cache_claim(endpoint),
        make_claim_template(endpoint, served_kinds),
        make_network_policy(endpoint, settings),
        make_preload_policy(endpoint, settings) if has_job else None,
        make_preload_job(endpoint, settings) if has_job else None,
        make_service(endpoint, ingress_controller),
        None if is_waiting else deployment,
        make_disruption_budget(endpoint),
        make_ingress(endpoint, ingress_controller, default_class),
        make_http_route(endpoint),
        make_autoscaler(endpoint, settings.prometheus_url if SCALED_OBJECT.kind in served_kinds else ""),
        make_pod_monitor(endpoint, settings),
    )
    missing = OPTIONAL_KINDS - served_kinds
    return tuple(child for child in children if child is not None and child["kind"] not in missing)
