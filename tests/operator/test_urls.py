"""The URL in the status: where clients reach an endpoint, and with which scheme."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import Document, parsed_endpoint
from operator_kit.reconciling import Bench
from whisper_operator.manifests import url_of

GATEWAY = {"parentRefs": [{"name": "edge"}]}


def ingress(**fields: Any) -> Document:
    return {"exposure": {"ingress": fields}}


def gateway(**fields: Any) -> Document:
    return {"exposure": {"gateway": {**GATEWAY, **fields}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "http://speech.team-a.svc.cluster.local/v1"),
        (ingress(), "http://speech.team-a.svc.cluster.local/v1"),
        (ingress(path="/speech"), "http://speech.team-a.svc.cluster.local/speech/v1"),
        (ingress(host="*.example.com"), "http://speech.team-a.svc.cluster.local/v1"),
        (ingress(host="a.example.com"), "http://a.example.com/v1"),
        (
            ingress(host="a.example.com", path="/speech", tls={"secretName": "x"}),
            "https://a.example.com/speech/v1",
        ),
        (gateway(), "http://speech.team-a.svc.cluster.local/v1"),
        (gateway(hostnames=["*.example.com", "a.example.com"]), "http://a.example.com/v1"),
        (gateway(hostnames=["a.example.com"], parentRefs=[{"name": "edge", "port": 443}]), "https://a.example.com/v1"),
        (
            gateway(hostnames=["a.example.com"], path="/x", parentRefs=[{"name": "edge", "sectionName": "https-1"}]),
            "https://a.example.com/x/v1",
        ),
    ],
)
def test_url_is_external_if_a_host_is_known(spec: Document, expected: str) -> None:
    assert url_of(parsed_endpoint(spec), operator_settings()) == expected


def test_url_uses_the_cluster_domain_of_the_settings() -> None:
    found = url_of(parsed_endpoint(), operator_settings(cluster_domain="k8s.internal"))
    assert found == "http://speech.team-a.svc.k8s.internal/v1"


HTTP = {"name": "web", "port": 80, "protocol": "HTTP"}
HTTPS = {"name": "secure", "port": 8443, "protocol": "HTTPS", "hostname": "*.example.com"}


@pytest.mark.parametrize(
    ("reference", "listeners", "scheme"),
    [
        ({}, [HTTP], "http"),
        ({}, [HTTP, HTTPS], "https"),
        ({"sectionName": "secure"}, [HTTP, HTTPS], "https"),
        ({"port": 8443}, [HTTP, HTTPS], "https"),
        ({"sectionName": "web"}, [HTTP, HTTPS], "http"),
        ({}, [HTTP, {**HTTPS, "hostname": "*.example.org"}], "http"),
        ({"sectionName": "https-plain"}, [{**HTTP, "name": "https-plain"}], "http"),
        ({"namespace": "edge", "sectionName": "secure"}, [HTTPS], "https"),
    ],
)
def test_url_has_the_scheme_of_the_listener(reference: Document, listeners: list[Document], scheme: str) -> None:
    endpoint = parsed_endpoint(gateway(hostnames=["a.example.com"], parentRefs=[{"name": "edge", **reference}]))
    read = {(reference.get("namespace", "team-a"), "edge"): listeners}
    assert url_of(endpoint, operator_settings(), read) == f"{scheme}://a.example.com/v1"


async def test_status_has_https_where_the_listener_has_tls() -> None:
    bench = Bench()
    edge = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"namespace": "edge", "name": "web"},
    }
    bench.cluster.put({**edge, "spec": {"listeners": [HTTP, HTTPS]}})
    parent = {"namespace": "edge", "name": "web", "sectionName": "secure"}
    bench.ask(gateway(hostnames=["a.example.com"], parentRefs=[parent]))
    await bench.settle()
    assert bench.endpoint()["status"]["url"] == "https://a.example.com/v1"
