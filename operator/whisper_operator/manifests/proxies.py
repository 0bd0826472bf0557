"""Annotations for Ingress controllers, so that uploads and long answers get through.

A plain answer sends nothing until everything is transcribed, and a retry doubles the GPU's work. So: long timeouts, no
buffering, retries only if no connection was made. The proxy does not limit sizes, because the server's refusal has OpenAI's
error format.
"""

from __future__ import annotations

from collections.abc import Mapping

from whisper_operator.resource.pod import Rollout

TIMEOUT_S = 3600
_MAX_ALB_TIMEOUT_S = 3600
_RETRIES = 10
"""After refused connections. With Envoy's back-off of 25 to 250 ms they last until a killed pod is known to be dead."""

_CONTROLLERS: Mapping[str, str] = {
    "projectcontour.io/": "contour",
    "k8s.io/ingress-nginx": "nginx",
    "nginx.org/": "nginx",
    "haproxy.org/": "haproxy",
    "haproxy-ingress.github.io/": "haproxy",
    "ingress.k8s.aws/alb": "alb",
    "eks.amazonaws.com/alb": "alb",
    "openshift.io/ingress-to-route": "openshift",
}
"""Prefix of an IngressClass's `spec.controller` → short name here and in the chart's values."""

_ANNOTATIONS: Mapping[str, Mapping[str, str]] = {
    "contour": {
        "projectcontour.io/response-timeout": "infinity",  # Envoy's default: 15 s
        "projectcontour.io/retry-on": "connect-failure",
        "projectcontour.io/num-retries": str(_RETRIES),
    },
    "nginx": {
        "nginx.ingress.kubernetes.io/proxy-body-size": "0",
        "nginx.ingress.kubernetes.io/proxy-buffering": "off",
        "nginx.ingress.kubernetes.io/proxy-http-version": "1.1",
        "nginx.ingress.kubernetes.io/proxy-next-upstream": "error timeout",  # a POST that was sent is not repeated
        "nginx.ingress.kubernetes.io/proxy-read-timeout": str(TIMEOUT_S),
        "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
        "nginx.ingress.kubernetes.io/proxy-send-timeout": str(TIMEOUT_S),
        "nginx.org/client-max-body-size": "0",
        "nginx.org/proxy-buffering": "False",
        "nginx.org/proxy-read-timeout": f"{TIMEOUT_S}s",
        "nginx.org/proxy-send-timeout": f"{TIMEOUT_S}s",
    },
    "haproxy": {
        "haproxy.org/timeout-server": f"{TIMEOUT_S}s",
        "haproxy-ingress.github.io/timeout-server": f"{TIMEOUT_S}s",
    },
    "alb": {
        "alb.ingress.kubernetes.io/healthcheck-path": "/ready",
        "alb.ingress.kubernetes.io/load-balancer-attributes": f"idle_timeout.timeout_seconds={TIMEOUT_S}",
        "alb.ingress.kubernetes.io/target-type": "ip",
    },
    "openshift": {"haproxy.router.openshift.io/timeout": f"{TIMEOUT_S}s"},
}
_SERVICE_ANNOTATIONS: Mapping[str, Mapping[str, str]] = {"contour": {"projectcontour.io/max-retries": "1024"}}
"""Concurrent retries of all clients: Envoy's default of 3 is too few while half of the pods are down."""
_REDIRECT: Mapping[str, Mapping[str, str]] = {"contour": {"ingress.kubernetes.io/force-ssl-redirect": "true"}}
"""For controllers that otherwise accept keys and recordings over plain HTTP in addition to TLS."""


def proxy_annotations(controller: str, rollout: Rollout, *, has_tls: bool = False) -> dict[str, str]:
    """Annotations for a controller, given by short name or by an IngressClass's `spec.controller`; none if it is unknown."""
    known = _known(controller)
    annotations = {**_ANNOTATIONS.get(known, {}), **(_REDIRECT.get(known, {}) if has_tls else {})}
    if known == "alb":
        shutdown_s = min(_MAX_ALB_TIMEOUT_S, rollout.drain_seconds + rollout.shutdown_seconds)
        annotations["alb.ingress.kubernetes.io/target-group-attributes"] = (
            f"deregistration_delay.timeout_seconds={shutdown_s}"
        )
    return annotations


def websocket_annotations(controller: str, path: str, service: str) -> dict[str, str]:
    """For controllers that pass WebSockets (realtime sessions) on named paths of the Ingress, or to named Services, only."""
    known = _known(controller)
    if known == "contour":
        return {"projectcontour.io/websocket-routes": path}
    return {"nginx.org/websocket-services": service} if known == "nginx" else {}


def service_annotations(controller: str) -> Mapping[str, str]:
    """Annotations of the Service that the controller of its Ingress reads."""
    return _SERVICE_ANNOTATIONS.get(_known(controller), {})


def _known(controller: str) -> str:
    return next((short for start, short in _CONTROLLERS.items() if controller.startswith(start)), controller)
