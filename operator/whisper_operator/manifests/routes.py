"""The route from outside: an Ingress or an HTTPRoute, to the API and its documentation, and to the page if the spec says so.

Probes and metrics are never routed. Also the resulting URL, and the keys by which two endpoints conflict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from whisper_operator import names
from whisper_operator.manifests.documents import metadata, plain, present
from whisper_operator.manifests.proxies import proxy_annotations, websocket_annotations
from whisper_operator.resource.access import CLASS_ANNOTATION, Exposure, Gateway, Ingress
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

API = "/v1"
PREFIXES = (API, "/docs")
FILES = ("/openapi.json",)
PAGE_FILES = "/page"
EMPTY: Mapping[tuple[str, str], Sequence[Document]] = MappingProxyType({})
NO_LIMIT = "0s"
"""The Gateway API's value for no timeout."""


def root_path(endpoint: Endpoint) -> str:
    """Prefix of all paths of the server; empty: none."""
    exposure = endpoint.spec.exposure or Exposure()
    part = exposure.ingress or exposure.gateway
    return part.path.rstrip("/") if part else ""


Listeners = Mapping[tuple[str, str], Sequence[Document]]
"""Listeners of Gateways, by namespace and name."""


def url_of(endpoint: Endpoint, settings: Settings, gateways: Listeners = EMPTY) -> str:
    """Base URL for OpenAI clients: the external one if a host is known, else the one inside the cluster.

    `gateways`: those that could be read of the ones that the route attaches to.
    """
    inside = f"http://{names.child_name(endpoint.name)}.{endpoint.namespace}.svc.{settings.cluster_domain}"
    exposure = endpoint.spec.exposure or Exposure()
    outside = ""
    if exposure.ingress and _is_address(exposure.ingress.host):
        outside = f"{'https' if exposure.ingress.tls else 'http'}://{exposure.ingress.host}"
    elif exposure.gateway:
        hosts = [host for host in exposure.gateway.hostnames if _is_address(host)]
        outside = f"{_scheme(exposure.gateway, hosts[0], endpoint.namespace, gateways)}://{hosts[0]}" if hosts else ""
    return f"{outside or inside}{root_path(endpoint)}/v1"


def names_no_class(ingress: Ingress) -> bool:
    """Whether the cluster's default IngressClass serves it."""
    return not ingress.class_name and CLASS_ANNOTATION not in ingress.annotations


class RouteKey(NamedTuple):
    """A route that only one endpoint of the cluster can own: of two whose keys overlap the older one gets it."""

    route: str
    """Class or Gateway, host and path."""
    section: str = ""
    """Name of the Gateway's listener; empty: all of them."""
    port: str = ""
    """Likewise."""

    def overlaps(self, other: RouteKey) -> bool:
        """Whether one key's listeners are among the other's. Of a name and a port only the Gateway knows whether they are one listener."""
        pairs = ((self.section, other.section), (self.port, other.port))
        is_among = (all(one in ("", its) for one, its in pairs), all(its in ("", one) for one, its in pairs))
        return self.route == other.route and any(is_among)


def route_keys(endpoint: Endpoint, default_class: str = "") -> frozenset[RouteKey]:
    """The routes of an endpoint. The default class and the name of that class are one."""
    exposure = endpoint.spec.exposure or Exposure()
    path = root_path(endpoint) or "/"
    if exposure.ingress:
        ingress = exposure.ingress
        named = ingress.class_name or ingress.annotations.get(CLASS_ANNOTATION) or default_class or "(default)"
        return frozenset({RouteKey(f"ingress {named} {ingress.host or '*'} {path}")})
    if exposure.gateway:
        hosts = exposure.gateway.hostnames or ("*",)
        references = exposure.gateway.parent_refs
        return frozenset(_of_gateway(one, endpoint.namespace, f"{host} {path}") for one in references for host in hosts)
    return frozenset()


def make_ingress(endpoint: Endpoint, controller: str, default_class: str) -> dict[str, Any] | None:
    """The Ingress, if the spec has one.

    The API server fills in the default class only when an Ingress is created. An Ingress that is older than the class would
    stay without one, so we set it explicitly.
    """
    wanted = endpoint.spec.exposure.ingress if endpoint.spec.exposure else None
    if wanted is None:
        return None
    backend = {"service": {"name": names.child_name(endpoint.name), "port": {"name": names.HTTP_PORT_NAME}}}
    paths = [{"path": path, "pathType": kind, "backend": plain(backend)} for kind, path in _paths(endpoint, "Prefix")]
    of_controller = proxy_annotations(controller, endpoint.spec.rollout, has_tls=wanted.tls is not None)
    websockets = websocket_annotations(controller, root_path(endpoint) + API, names.child_name(endpoint.name))
    annotations = {**of_controller, **websockets, **wanted.annotations}
    class_name = default_class if names_no_class(wanted) else wanted.class_name
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(endpoint, annotations=annotations),
        "spec": {
            **present(ingressClassName=class_name, tls=_tls(wanted)),
            "rules": [{**present(host=wanted.host), "http": {"paths": paths}}],
        },
    }


def make_http_route(endpoint: Endpoint) -> dict[str, Any] | None:
    """The HTTPRoute, if the spec has one. It has no timeouts: the server has its own, and long recordings take long."""
    wanted = endpoint.spec.exposure.gateway if endpoint.spec.exposure else None
    if wanted is None:
        return None
    matches = [{"path": {"type": kind, "value": path}} for kind, path in _paths(endpoint, "PathPrefix")]
    rule = {
        "matches": matches,
        "backendRefs": [{"name": names.child_name(endpoint.name), "port": names.SERVICE_PORT}],
        "timeouts": {"request": NO_LIMIT, "backendRequest": NO_LIMIT},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(endpoint),
        "spec": {
            "parentRefs": plain(wanted.parent_refs),
            **present(hostnames=list(wanted.hostnames)),
            "rules": [rule],
        },
    }


def _paths(endpoint: Endpoint, prefix_kind: str) -> Iterator[tuple[str, str]]:
    before = root_path(endpoint)
    yield from ((prefix_kind, before + path) for path in PREFIXES)
    yield from (("Exact", before + path) for path in FILES)
    if endpoint.spec.access.web_page:
        # Below a prefix, the address without the slash is redirected to the one with it.
        yield from (("Exact", path) for path in dict.fromkeys((before or "/", f"{before}/")))
        yield prefix_kind, before + PAGE_FILES


def _tls(ingress: Ingress) -> list[dict[str, Any]]:
    if ingress.tls is None:
        return []
    return [{**present(hosts=[ingress.host] if ingress.host else []), "secretName": ingress.tls.secret_name}]


def _is_address(host: str | None) -> bool:
    return bool(host) and "*" not in str(host)


def _scheme(gateway: Gateway, host: str, namespace: str, gateways: Listeners) -> str:
    """Https if one of the listeners that the route attaches to for this host has TLS; guessed for a Gateway that cannot be read."""
    return "https" if any(_is_secure(one, host, namespace, gateways) for one in gateway.parent_refs) else "http"


def _is_secure(reference: Document, host: str, namespace: str, gateways: Listeners) -> bool:
    section, port = reference.get("sectionName"), reference.get("port")
    listeners = gateways.get((reference.get("namespace") or namespace, reference["name"]))
    if listeners is None:
        return port == 443 or str(section or "").startswith("https")
    return any(
        each.get("protocol") in ("HTTPS", "TLS")
        for each in listeners
        if section in (None, each.get("name")) and port in (None, each.get("port")) and _serves(each, host)
    )


def _serves(listener: Document, host: str) -> bool:
    """Whether a listener takes requests for a host: its own name, below its wildcard, or any."""
    own = str(listener.get("hostname") or "")
    return own in ("", host) or (own.startswith("*.") and host.endswith(own[1:]))


def _of_gateway(reference: Document, namespace: str, where: str) -> RouteKey:
    kind = f"{reference.get('group', 'gateway.networking.k8s.io')}/{reference.get('kind', 'Gateway')}"
    parent = f"{reference.get('namespace', namespace)}/{reference['name']}"
    return RouteKey(
        f"gateway {kind} {parent} {where}", str(reference.get("sectionName") or ""), str(reference.get("port") or "")
    )
