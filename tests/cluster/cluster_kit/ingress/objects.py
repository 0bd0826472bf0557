"""What an administrator would have applied for Contour: its class, its Gateway, and what it may do.

The kinds and the roles themselves are Contour's own, see `kinds`.
"""

from __future__ import annotations

from typing import Any

NAMESPACE = "projectcontour"
CLASS = "contour"
USER = "contour"
GATEWAY = "contour"
CERTIFICATE = "gateway"
"""Secret of the Gateway's HTTPS listener, for names under `DOMAIN`. An Ingress brings its own."""
DOMAIN = "whisper.test"


def namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def objects() -> list[dict[str, Any]]:
    """They take the kinds and the namespace."""
    everybody = {"namespaces": {"from": "All"}}
    tls = {"mode": "Terminate", "certificateRefs": [{"name": CERTIFICATE}]}
    listeners = [
        {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": everybody},
        {"name": "https", "protocol": "HTTPS", "port": 443, "tls": tls, "allowedRoutes": everybody},
    ]
    return [
        _binding("ClusterRoleBinding", "ClusterRole"),
        _binding("RoleBinding", "Role"),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": CLASS, "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "projectcontour.io/ingress-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": "projectcontour.io/gateway-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": CLASS, "listeners": listeners},
        },
    ]


def _binding(kind: str, role: str) -> dict[str, Any]:
    """The roles that Contour has written for itself, to its user."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"name": "contour", "namespace": NAMESPACE} if kind == "RoleBinding" else {"name": "contour"},
        "roleRef": {"apiGroup": group, "kind": role, "name": "contour"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    }
