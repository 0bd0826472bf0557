"""The condition Exposed: whether the route that `exposure` asks for is in place.

It does not depend on the load balancer's address, because some controllers never publish one.
"""

from __future__ import annotations

from collections.abc import Iterator

from whisper_operator.resource.access import CLASS_ANNOTATION, Gateway, Ingress
from whisper_operator.resource.fields import Document
from whisper_operator.resource.required_secrets import route_secrets
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_int, get_list, get_map, get_str
from whisper_operator.status.child_issues import ROUTE_KINDS, not_there, refused
from whisper_operator.status.conditions import Condition, Truth, fails
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, joined, quoted
from whisper_operator.status.secrets import issues_of_secret

TYPE = "Exposed"


def exposed(view: EndpointView) -> Condition | None:
    """None without `exposure`."""
    exposure = view.endpoint.spec.exposure if view.endpoint else None
    if exposure and exposure.ingress:
        return _by_ingress(exposure.ingress, view)
    if exposure and exposure.gateway:
        return _by_gateway(exposure.gateway, view)
    return None if view.endpoint else view.as_before(TYPE)


def _holds(reason: str, message: str) -> Condition:
    return Condition(type=TYPE, status=Truth.TRUE, reason=reason, message=message)


def _pending(message: str) -> Condition:
    return Condition(type=TYPE, status=Truth.UNKNOWN, reason=reasons.ROUTE_PENDING, message=message)


def _conflict(where: str, field: str, view: EndpointView) -> Issue | None:
    owner = view.snapshot.route_owner
    if not owner:
        return None
    message = f"{where} belongs to the older WhisperEndpoint {owner}: change {field}, or delete that one."
    return Issue(reason=reasons.ROUTE_CONFLICT, message=message)


def _by_ingress(ingress: Ingress, view: EndpointView) -> Condition:
    of_class = f" of IngressClass {ingress.class_name}" if ingress.class_name else ""
    where = f"{ingress.host or 'Any host'}{ingress.path}{of_class}"
    document = view.child("Ingress")
    addresses = list(_addresses(document or {}))
    found = _conflict(where, "exposure.ingress.host or path", view) or refused(ROUTE_KINDS, view)
    if found is None and not addresses:
        found = _class_missing(ingress, view)
    if found is None and view.endpoint is not None:
        found = next((each for secret in route_secrets(view.endpoint) for each in issues_of_secret(secret, view)), None)
    if found is not None:
        return fails(TYPE, found)
    if document is None:
        return _pending(not_there("Ingress", view))
    if not addresses:
        return _holds(
            reasons.ADDRESS_PENDING, f"Ingress {view.name} is there; its controller has published no address (yet)."
        )
    return _holds(reasons.EXPOSED, f"Ingress {view.name} is served at {', '.join(addresses)}.")


def _class_missing(ingress: Ingress, view: EndpointView) -> Issue | None:
    if view.snapshot.ingress_class is not None or CLASS_ANNOTATION in ingress.annotations:
        return None
    if ingress.class_name:
        what = f"There is no IngressClass {ingress.class_name}"
    else:
        what = "exposure.ingress.className is not set and the cluster has no default IngressClass"
    message = f"{what}: no controller serves the Ingress. Set exposure.ingress.className to one of `kubectl get ingressclass`, or install an ingress controller."
    return Issue(reason=reasons.INGRESS_CLASS_MISSING, message=message)


def _addresses(document: Document) -> Iterator[str]:
    for entry in get_list(document, "status", "loadBalancer", "ingress"):
        yield get_str(entry, "hostname") or get_str(entry, "ip") or "an address"


def _by_gateway(gateway: Gateway, view: EndpointView) -> Condition:
    if "HTTPRoute" not in view.snapshot.served_kinds:
        message = "The cluster does not serve HTTPRoute (gateway.networking.k8s.io/v1): install the Gateway API, or use exposure.ingress."
        return fails(TYPE, Issue(reason=reasons.GATEWAY_API_MISSING, message=message))
    where = f"{', '.join(gateway.hostnames) or 'Any host'}{gateway.path} of Gateway {_names(gateway)}"
    found = _conflict(where, "exposure.gateway.hostnames or path", view) or refused(ROUTE_KINDS, view)
    if found is not None:
        return fails(TYPE, found)
    route = view.child("HTTPRoute")
    if route is None:
        return _pending(not_there("HTTPRoute", view))
    return _of_parents(route, gateway, view)


def _of_parents(route: Document, gateway: Gateway, view: EndpointView) -> Condition:
    generation = get_int(route, "metadata", "generation")
    answered = set()
    for parent in get_list(route, "status", "parents"):
        current = [each for each in get_list(parent, "conditions") if get_int(each, "observedGeneration") >= generation]
        for condition in current:
            if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
                return fails(TYPE, _not_accepted(parent, condition, view))
            if condition.get("type") == "Accepted" and condition.get("status") == "True":
                answered.add(_parent_key(get_map(parent, "parentRef"), view))
    silent = [ref for ref in gateway.parent_refs if _parent_key(ref, view) not in answered]
    if silent:
        name = _parent_name(silent[0], view)
        return _pending(
            f"Gateway {name} has not answered for the HTTPRoute: is it there, and does its controller run? See `kubectl get gateway -A`."
        )
    return _holds(reasons.EXPOSED, f"HTTPRoute {view.name} is accepted by {_names(gateway)}.")


def _not_accepted(parent: Document, condition: Document, view: EndpointView) -> Issue:
    name = _parent_name(get_map(parent, "parentRef"), view)
    words = quoted(f"{get_str(condition, 'reason')}: {get_str(condition, 'message')}")
    message = joined(
        f"Gateway {name} does not accept the HTTPRoute. It says {words}",
        "Check exposure.gateway against its listeners.",
    )
    return Issue(reason=reasons.ROUTE_NOT_ACCEPTED, message=message)


def _parent_name(ref: Document, view: EndpointView) -> str:
    return f"{get_str(ref, 'namespace') or view.namespace}/{get_str(ref, 'name')}"


def _parent_key(ref: Document, view: EndpointView) -> tuple[str, ...]:
    return (
        str(ref.get("kind") or "Gateway"),
        str(ref.get("namespace") or view.namespace),
        str(ref.get("name", "")),
        str(ref.get("sectionName") or ""),
        str(ref.get("port") or ""),
    )


def _names(gateway: Gateway) -> str:
    return ", ".join(str(ref.get("name", "")) for ref in gateway.parent_refs)
