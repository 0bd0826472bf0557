"""The ground itself: what Ingresses, HTTPRoutes and the cluster's DNS do before anything of ours stands on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.namespaces import fresh_namespace
from cluster_kit.reading import is_ready
from e2e_kit.ground import Ground
from e2e_kit.host_names import Certificate, certificate_for, resolving
from suite_kit.slow import SLOW
from whisper_operator.manifests.proxies import proxy_annotations
from whisper_operator.resource.pod import Rollout

pytestmark = pytest.mark.test_bed

NAME, POD = "echo", "echo-0"
HOST, TLS_HOST, GATEWAY_HOST = "echo.example.com", "secure-echo.example.com", "echo.whisper.test"
SILENT_S = 16.0
"""Longer than the 15 s that Envoy has for an answer where it is told nothing."""
ECHO = """
import http.server, json, time, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        size = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        address = urllib.parse.urlsplit(self.path)
        time.sleep(float(urllib.parse.parse_qs(address.query).get("silent_s", ["0"])[0]))
        body = json.dumps({"path": address.path, "n_bytes": size, "scheme": self.headers["X-Forwarded-Proto"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
LOOK_UP = """
import json, socket, sys
def address(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""
print(json.dumps({name: address(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Echo:
    """A pod that tells what it was asked, behind every way in."""

    cluster: Cluster
    namespace: str
    address: str
    certificate: Certificate

    @property
    def ways(self) -> dict[str, str]:
        """Where it answers."""
        return {
            "Ingress": f"http://{self.address}/{self.namespace}",
            "Ingress with a host": f"http://{HOST}/v1",
            "Ingress with a certificate": f"https://{TLS_HOST}/v1",
            "HTTPRoute": f"http://{GATEWAY_HOST}/v1",
            "HTTPRoute over TLS": f"https://{GATEWAY_HOST}/v1",
        }

    def post(self, url: str, content: bytes = b"", timeout_s: float = 10) -> httpx.Response:
        trust = self.certificate.trusting()
        trust.load_verify_locations(self.cluster.own().authority)  # of the Gateway's certificate
        return httpx.post(url, content=content, verify=trust, timeout=timeout_s)

    def answers(self, url: str) -> bool:
        try:
            return self.post(url).status_code == 200
        except httpx.TransportError:
            return False  # Envoy opens a port with its first route


@pytest.fixture(scope="module")
def echo(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    cluster, certificate = ground.cluster, certificate_for(TLS_HOST, tmp_path_factory.mktemp("tls"))
    with fresh_namespace(cluster) as namespace, resolving(ground.node.address, HOST, TLS_HOST, GATEWAY_HOST):
        cluster.apply(*_objects(namespace, _image(ground), certificate))
        cluster.wait(lambda: is_ready(cluster.get("pod", POD, namespace)), 60, "the pod is ready")
        found = Echo(cluster, namespace, ground.node.address, certificate)
        for way, url in found.ways.items():
            cluster.wait(lambda url=url: found.answers(url), 20, f"{way} answers")  # type: ignore[misc]
        yield found


def _image(ground: Ground) -> str:
    """Any with a Python in it."""
    names = ground.node.run(["ctr", "--namespace=k8s.io", "images", "list", "--quiet"]).stdout.split()
    return next(name for name in names if "/whisper-operator:" in name)


def _objects(namespace: str, image: str, certificate: Certificate) -> Iterator[Document]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", ECHO],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
        "securityContext": security,
    }
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": secure, "terminationGracePeriodSeconds": 0}
    yield _object("v1", "Pod", namespace, spec, name=POD, labels={"app": NAME})
    yield _object("v1", "Service", namespace, {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": 8000}]})
    yield certificate.secret(namespace)
    yield _ingress(namespace, "any", f"/{namespace}")
    yield _ingress(namespace, "host", "/v1", host=HOST)
    yield _ingress(namespace, "tls", "/v1", host=TLS_HOST, tls=[{"hosts": [TLS_HOST], "secretName": "certificate"}])
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
        "backendRefs": [{"name": NAME, "port": 80}],
        "timeouts": {"request": "0s", "backendRequest": "0s"},
    }
    parents = [{"name": "contour", "namespace": "projectcontour"}]
    route = {"parentRefs": parents, "hostnames": [GATEWAY_HOST], "rules": [rule]}
    yield _object("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, route)


def _ingress(namespace: str, name: str, path: str, *, host: str = "", **spec: Any) -> Document:
    """As the operator tells Contour, and of the default class."""
    backend = {"service": {"name": NAME, "port": {"number": 80}}}
    rule = {"http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}
    rules = [{**rule, "host": host} if host else rule]
    annotations = proxy_annotations("contour", Rollout(), has_tls="tls" in spec)
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {"rules": rules, **spec},
    }


def _object(version: str, kind: str, namespace: str, spec: Document, **metadata: Any) -> Document:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": NAME, "namespace": namespace, **metadata},
        "spec": spec,
    }


def test_every_way_in_leads_to_the_pod(echo: Echo) -> None:
    found = {way: echo.post(f"{url}/x", bytes(30_000_000)).json() for way, url in echo.ways.items()}
    assert found == {
        way: {"path": httpx.URL(f"{url}/x").path, "n_bytes": 30_000_000, "scheme": url.partition(":")[0]}
        for way, url in echo.ways.items()
    }


def test_ingresses_are_of_the_default_class_and_have_the_nodes_address(echo: Echo) -> None:
    for name in ("any", "host", "tls"):
        ingress = echo.cluster.get("ingress", name, echo.namespace)
        assert ingress["spec"]["ingressClassName"] == "contour"
        assert ingress["status"]["loadBalancer"]["ingress"] == [{"ip": echo.address}]


def test_a_silent_answer_is_waited_for(echo: Echo) -> None:
    """Contour reads the operator's annotations and the time-outs of an HTTPRoute."""
    with ThreadPoolExecutor(len(echo.ways)) as threads:
        urls = [f"{url}/x?silent_s={SILENT_S:g}" for url in echo.ways.values()]
        answers = list(threads.map(lambda url: echo.post(url, timeout_s=2 * SILENT_S).status_code, urls))
    assert answers == [200] * len(echo.ways)


def test_where_there_is_a_certificate_clients_are_sent_to_it(echo: Echo) -> None:
    answer = echo.post(f"http://{TLS_HOST}/v1/x")
    assert (answer.status_code, answer.headers["location"]) == (301, f"https://{TLS_HOST}/v1/x")
    assert echo.post(f"http://{HOST}/v1/x").status_code == 200


def test_pods_find_services_by_name(echo: Echo) -> None:
    address = echo.cluster.get("service", NAME, echo.namespace)["spec"]["clusterIP"]
    known = [NAME, f"{NAME}.{echo.namespace}", f"{NAME}.{echo.namespace}.svc.cluster.local"]
    started_s = time.monotonic()
    where = ("exec", POD, f"--namespace={echo.namespace}", "--", "python3", "-c", LOOK_UP)
    found = json.loads(echo.cluster.kubectl(*where, *known, "kubernetes.default", "huggingface.co", "nobody"))
    assert found == {
        **dict.fromkeys(known, address),
        "kubernetes.default": "10.96.0.1",
        "huggingface.co": "",  # there is no way out, and that is said at once
        "nobody": "",
    }
    assert time.monotonic() - started_s < 10 * SLOW


def test_contour_may_be_away_for_a_while(echo: Echo) -> None:
    new = f"/{echo.namespace}-new"
    echo.cluster.stop("contour")
    try:
        assert all(echo.answers(url) for url in echo.ways.values())
        echo.cluster.apply(_ingress(echo.namespace, "new", new))
        assert not echo.answers(f"http://{echo.address}{new}")
    finally:
        echo.cluster.start("contour")
    echo.cluster.wait(lambda: echo.answers(f"http://{echo.address}{new}"), 30, "the new Ingress answers")
