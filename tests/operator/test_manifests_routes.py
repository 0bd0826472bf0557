"""Routes from outside: paths, annotations for proxies, the URL, conflicts."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from whisper_operator.manifests import make_children, route_keys
from whisper_operator.manifests.proxies import proxy_annotations
from whisper_operator.resource.pod import Rollout
from whisper_operator.settings import Settings

Document = dict[str, Any]

GATEWAY = {"parentRefs": [{"name": "edge"}]}


def ingress(**fields: Any) -> Document:
    return {"exposure": {"ingress": fields}}


def gateway(**fields: Any) -> Document:
    return {"exposure": {"gateway": {**GATEWAY, **fields}}}


def children(spec: Document, controller: str, default_class: str = "") -> tuple[Document, ...]:
    return make_children(
        parsed_endpoint(spec),
        operator_settings(),
        served_kinds=frozenset({"HTTPRoute"}),
        ingress_controller=controller,
        default_class=default_class,
    )


def routed(spec: Document, controller: str = "", default_class: str = "") -> Document:
    made = children(spec, controller, default_class)
    (found,) = [child for child in made if child["kind"] in ("Ingress", "HTTPRoute")]
    return found


def service(spec: Document, controller: str) -> Document:
    (found,) = [child for child in children(spec, controller) if child["kind"] == "Service"]
    return found


def paths(route: Document) -> list[tuple[str, str]]:
    (rule,) = route["spec"]["rules"]
    if route["kind"] == "Ingress":
        return [(path["pathType"], path["path"]) for path in rule["http"]["paths"]]
    return [(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]]


@pytest.mark.parametrize(("path", "before"), [("/", ""), ("/speech", "/speech")])
def test_route_covers_only_api_and_documentation(path: str, before: str) -> None:
    expected = [("Prefix", f"{before}/v1"), ("Prefix", f"{before}/docs"), ("Exact", f"{before}/openapi.json")]
    assert paths(routed(ingress(path=path))) == expected
    assert paths(routed(gateway(path=path))) == [(kind.replace("Prefix", "PathPrefix"), at) for kind, at in expected]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "contour"),
        ({"className": "nginx"}, "nginx"),
        ({"annotations": {"kubernetes.io/ingress.class": "old"}}, None),  # the API server does not take both
    ],
)
def test_ingress_names_the_default_class_if_spec_has_none(fields: Document, expected: str | None) -> None:
    assert routed(ingress(**fields), default_class="contour")["spec"].get("ingressClassName") == expected


def test_ingress_without_host_serves_any_host() -> None:
    route = routed(ingress())
    assert set(route["spec"]) == {"rules"}
    assert set(route["spec"]["rules"][0]) == {"http"}
    assert "hostnames" not in routed(gateway())["spec"]


@pytest.mark.parametrize(
    ("controller", "expected"),
    [
        ("projectcontour.io/projectcontour/contour", "contour"),
        ("k8s.io/ingress-nginx", "nginx"),
        ("nginx.org/ingress-controller", "nginx"),
        ("haproxy.org/ingress-controller", "haproxy"),
        ("haproxy-ingress.github.io/controller", "haproxy"),
        ("ingress.k8s.aws/alb", "alb"),
        ("eks.amazonaws.com/alb", "alb"),
        ("openshift.io/ingress-to-route", "openshift"),
        ("traefik.io/ingress-controller", "none"),
        ("", "none"),
    ],
)
def test_ingress_class_decides_the_controller(controller: str, expected: str) -> None:
    assert proxy_annotations(controller, Rollout()) == proxy_annotations(expected, Rollout())
    assert bool(proxy_annotations(controller, Rollout())) == (expected != "none")


def test_contour_has_no_timeout_and_no_request_retry() -> None:
    assert proxy_annotations("contour", Rollout()) == {
        "projectcontour.io/response-timeout": "infinity",
        "projectcontour.io/retry-on": "connect-failure",
        "projectcontour.io/num-retries": "10",
    }


def test_contour_service_allows_many_concurrent_retries() -> None:
    name = "projectcontour.io/max-retries"
    assert service(ingress(), "projectcontour.io/ingress-controller")["metadata"]["annotations"] == {name: "1024"}
    own = {**ingress(), "service": {"annotations": {name: "7"}}}
    assert service(own, "contour")["metadata"]["annotations"] == {name: "7"}
    assert "annotations" not in service(ingress(), "nginx")["metadata"]
    assert "annotations" not in service({}, "contour")["metadata"]
    assert "annotations" not in service(gateway(), "contour")["metadata"]


def test_contour_redirects_to_https_if_tls_is_set() -> None:
    redirect = "ingress.kubernetes.io/force-ssl-redirect"
    tls = ingress(host="speech.example.com", tls={"secretName": "certificate"})
    assert routed(tls, "contour")["metadata"]["annotations"][redirect] == "true"
    assert redirect not in routed(ingress(host="speech.example.com"), "contour")["metadata"]["annotations"]
    assert redirect not in routed(tls, "nginx")["metadata"]["annotations"]  # does so by itself


def test_nginx_streams_uploads_of_any_size_and_waits_long() -> None:
    found = proxy_annotations("nginx", Rollout())
    prefix = "nginx.ingress.kubernetes.io"
    assert {name: value for name, value in found.items() if name.startswith(prefix)} == {
        f"{prefix}/proxy-body-size": "0",
        f"{prefix}/proxy-buffering": "off",
        f"{prefix}/proxy-http-version": "1.1",
        f"{prefix}/proxy-next-upstream": "error timeout",
        f"{prefix}/proxy-read-timeout": "3600",
        f"{prefix}/proxy-request-buffering": "off",
        f"{prefix}/proxy-send-timeout": "3600",
    }
    assert not any("non_idempotent" in value or "http_5" in value for value in found.values())


def test_aws_load_balancer_lets_running_requests_finish() -> None:
    found = proxy_annotations("alb", Rollout(drain_seconds=20, shutdown_seconds=100))
    prefix = "alb.ingress.kubernetes.io"
    assert found == {
        f"{prefix}/healthcheck-path": "/ready",
        f"{prefix}/load-balancer-attributes": "idle_timeout.timeout_seconds=3600",
        f"{prefix}/target-type": "ip",
        f"{prefix}/target-group-attributes": "deregistration_delay.timeout_seconds=120",
    }
    longer = proxy_annotations("alb", Rollout(shutdown_seconds=9999))
    assert longer[f"{prefix}/target-group-attributes"].endswith("=3600")


def test_annotations_of_the_spec_override_ours() -> None:
    own = {"nginx.ingress.kubernetes.io/proxy-body-size": "10m", "cert-manager.io/cluster-issuer": "main"}
    found = routed(ingress(annotations=own), "nginx")["metadata"]["annotations"]
    assert own.items() <= found.items()
    assert found["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_unknown_controller_gets_no_annotations() -> None:
    assert "annotations" not in routed(ingress(), "traefik.io/ingress-controller")["metadata"]


def in_the_way(one: Document, other: Document) -> bool:
    first, second = (parsed_endpoint(spec, name=name) for spec, name in ((one, "one"), (other, "other")))
    return any(its.overlaps(others) for its in route_keys(first) for others in route_keys(second))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, False),
        (ingress(), ingress(), True),
        (ingress(host="a.example"), ingress(host="a.example", path="/"), True),
        (ingress(host="a.example"), ingress(host="a.example", path="/b"), False),
        (ingress(host="a.example"), ingress(host="b.example"), False),
        (ingress(className="x"), ingress(className="y"), False),
        (ingress(className="x", host="a.example"), ingress(className="x", host="a.example"), True),
        (ingress(), gateway(), False),
        (gateway(), gateway(), True),
        (gateway(hostnames=["a", "b"]), gateway(hostnames=["b", "c"]), True),
        (gateway(hostnames=["a"]), gateway(hostnames=["b"]), False),
        (gateway(), gateway(parentRefs=[{"name": "edge", "namespace": "infra"}]), False),
        (gateway(), gateway(parentRefs=[{"name": "edge", "namespace": "team-a", "kind": "Gateway"}]), True),
        (gateway(), gateway(parentRefs=[{"name": "edge", "sectionName": "https"}]), True),
        (gateway(), gateway(parentRefs=[{"name": "edge", "port": 443}]), True),
        (
            gateway(parentRefs=[{"name": "edge", "sectionName": "http"}]),
            gateway(parentRefs=[{"name": "edge", "sectionName": "https"}]),
            False,
        ),
        (gateway(), gateway(parentRefs=[{"name": "edge"}, {"name": "other"}]), True),
        (gateway(path="/a"), gateway(path="/b"), False),
    ],
)
def test_endpoints_with_the_same_route_conflict(one: Document, other: Document, expected: bool) -> None:
    assert in_the_way(one, other) == expected
    assert in_the_way(other, one) == expected


def test_endpoints_of_different_namespaces_can_conflict() -> None:
    spec = ingress(className="x", host="a.example")
    assert route_keys(parsed_endpoint(spec)) == route_keys(parsed_endpoint(spec, namespace="team-b"))
    assert route_keys(parsed_endpoint(gateway())) != route_keys(parsed_endpoint(gateway(), namespace="team-b"))


@pytest.mark.parametrize("controller", ["contour", "nginx", "haproxy", "alb", "openshift"])
def test_controller_with_annotations_can_be_named_in_the_settings(controller: str) -> None:
    variables = {"SERVER_IMAGE_GPU": "gpu:1", "SERVER_IMAGE_CPU": "cpu:1", "INGRESS_CONTROLLER": controller}
    assert Settings.from_env(variables, read=str).ingress_controller == controller
    assert proxy_annotations(controller, Rollout())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", [("Exact", "/"), ("Prefix", "/page")]),
        ("/speech", [("Exact", "/speech"), ("Exact", "/speech/"), ("Prefix", "/speech/page")]),
    ],
)
def test_page_is_routed_only_if_the_spec_says_so(path: str, expected: list[tuple[str, str]]) -> None:
    for route in (ingress(path=path), gateway(path=path)):
        shown = paths(routed({**route, "access": {"webPage": True}}))
        for hidden in ({}, {"access": {"webPage": False}}):
            more = [each for each in shown if each not in paths(routed({**route, **hidden}))]
            assert [(kind.replace("PathPrefix", "Prefix"), at) for kind, at in more] == expected


def test_controllers_that_need_it_pass_realtime_sessions() -> None:
    contour = routed(ingress(path="/speech"), "contour")["metadata"]["annotations"]
    assert contour["projectcontour.io/websocket-routes"] == "/speech/v1"
    assert ("Prefix", "/speech/v1") in paths(routed(ingress(path="/speech")))
    assert routed(ingress(), "nginx")["metadata"]["annotations"]["nginx.org/websocket-services"] == "speech"
    assert not any("websocket" in name for name in routed(ingress(), "alb")["metadata"]["annotations"])
