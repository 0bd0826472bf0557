"""Situations of the way in, of autoscaling and of the spec itself."""

from __future__ import annotations

from collections.abc import Mapping

from operator_kit import live_objects as live
from operator_kit.judgements import snapshot_of
from operator_kit.situation import (
    CLASS,
    DEFAULT_INGRESS,
    GATEWAY,
    INGRESS,
    MISSING,
    NO_POD,
    ROUTES,
    SCALED,
    TLS_INGRESS,
    Situation,
    held_back,
    refused,
    serving,
    stuck,
)
from whisper_operator.errors import SpecError

OF_ROUTES: Mapping[str, Situation] = {
    # ── the way in ──
    "exposed": Situation(INGRESS, serving(live.ingress({"ip": "192.0.2.1"}), **CLASS), {"Exposed": "True Exposed"}),
    "no address": Situation(INGRESS, serving(live.ingress(), **CLASS), {"Exposed": "True AddressPending"}),
    "Ingress not made": Situation(INGRESS, serving(**CLASS), held_back("RoutePending", Exposed="Unknown RoutePending")),
    "no IngressClass": Situation(
        INGRESS, serving(live.ingress()), held_back("IngressClassMissing", Exposed="False IngressClassMissing")
    ),
    "no default IngressClass": Situation(
        DEFAULT_INGRESS, serving(live.ingress()), held_back("IngressClassMissing", Exposed="False IngressClassMissing")
    ),
    "served without a class": Situation(
        DEFAULT_INGRESS, serving(live.ingress({"hostname": "lb.example.com"})), {"Exposed": "True Exposed"}
    ),
    "no certificate": Situation(
        TLS_INGRESS,
        serving(live.ingress(), secrets={"cert": MISSING}, **CLASS),
        held_back("SecretMissing", Exposed="False SecretMissing"),
    ),
    "route is taken": Situation(
        INGRESS, serving(route_owner="team-b/first", **CLASS), held_back("RouteConflict", Exposed="False RouteConflict")
    ),
    "no Gateway API": Situation(GATEWAY, serving(), held_back("GatewayApiMissing", Exposed="False GatewayApiMissing")),
    "no answer of the Gateway": Situation(
        GATEWAY, serving(live.http_route(), **ROUTES), held_back("RoutePending", Exposed="Unknown RoutePending")
    ),
    "refused by the Gateway": Situation(
        GATEWAY,
        serving(
            live.http_route(
                live.parent("web", live.condition("Accepted", "False", "NotAllowedByListeners", "Not from team-a"))
            ),
            **ROUTES,
        ),
        held_back("RouteNotAccepted", Exposed="False RouteNotAccepted"),
    ),
    "accepted by the Gateway": Situation(
        GATEWAY,
        serving(
            live.http_route(
                live.parent(
                    "web",
                    live.condition("Accepted", "True", "Accepted"),
                    live.condition("ResolvedRefs", "True", "ResolvedRefs"),
                )
            ),
            **ROUTES,
        ),
        {"Exposed": "True Exposed"},
    ),
    # ── autoscaling ──
    "scales": Situation(
        SCALED,
        serving(
            live.autoscaler(
                live.condition("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size"),
                live.condition(
                    "ScalingActive",
                    "True",
                    "ValidMetricFound",
                    "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
                ),
                live.condition(
                    "ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the range"
                ),
            )
        ),
        {"Autoscaling": "True ValidMetricFound"},
    ),
    "no metrics": Situation(
        SCALED,
        serving(
            live.autoscaler(
                live.condition("AbleToScale", "True", "SucceededGetScale"),
                live.condition("ScalingActive", "False", "FailedGetResourceMetric", "no metrics returned"),
            )
        ),
        {"Autoscaling": "False FailedGetResourceMetric"},
    ),
    "wants more than it may": Situation(
        SCALED,
        serving(
            live.autoscaler(
                live.condition("ScalingActive", "True", "ValidMetricFound", "calculated"),
                live.condition("ScalingLimited", "True", "TooManyReplicas", "more than the maximum"),
            )
        ),
        {"Autoscaling": "True TooManyReplicas"},
    ),
    "autoscaler is new": Situation(SCALED, serving(live.autoscaler()), {"Autoscaling": "Unknown AutoscalerPending"}),
    "scales by KEDA": Situation(
        SCALED,
        serving(
            live.scaled_object(
                live.condition("Ready", "True", "ScaledObjectReady", "ScaledObject is defined correctly"),
                live.condition("Fallback", "False", "NoFallbackFound"),
            )
        ),
        {"Autoscaling": "True ScaledObjectReady"},
    ),
    "KEDA refuses": Situation(
        SCALED,
        serving(live.scaled_object(live.condition("Ready", "False", "ScaledObjectCheckFailed", "no scale target"))),
        {"Autoscaling": "False ScaledObjectCheckFailed"},
    ),
    "KEDA gets no answer": Situation(
        SCALED,
        serving(
            live.scaled_object(
                live.condition("Ready", "True", "ScaledObjectReady"),
                live.condition("Fallback", "True", "FallbackExists"),
            )
        ),
        {"Autoscaling": "False FallbackExists"},
    ),
    "KEDA is slow": Situation(SCALED, serving(live.scaled_object()), {"Autoscaling": "Unknown AutoscalerPending"}),
    # ── the spec ──
    "cannot be parsed": Situation(
        {},
        serving(),
        held_back("InvalidSpec", Valid="False InvalidSpec"),
        SpecError("gpu.class", "write t4 or …"),
        parsed=False,
    ),
    "cannot be carried out": Situation(
        {},
        serving(),
        held_back("InvalidSpec", Valid="False InvalidSpec"),
        SpecError("pod.env[2].name", "PORT is the operator's"),
    ),
    "not allowed by the cluster": Situation(
        {},
        serving(),
        held_back("NotAllowed", Valid="False NotAllowed"),
        SpecError("pod.image", "evil.example/x is not from a registry that this cluster allows", "NotAllowed"),
    ),
    "name is taken": Situation(
        {},
        snapshot_of(refusals=(refused("Deployment", "speech", 0, "NameTaken", ""),)),
        stuck("NameTaken", Valid="False NameTaken", **NO_POD),
    ),
    "cannot be written for now": Situation(
        {},
        serving(refusals=(refused("Service", "speech", 503, "ServiceUnavailable", "try later"),)),
        {"Progressing": "True ApplyFailed"},
    ),
    "refused by the API server": Situation(
        {},
        serving(
            refusals=(refused("Deployment", "speech", 422, "Invalid", 'Deployment.apps "speech" is invalid: spec.x'),)
        ),
        held_back("ChildInvalid", Valid="False ChildInvalid"),
    ),
}
