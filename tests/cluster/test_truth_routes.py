"""Status on a real control plane: the way in, and the endpoint itself.

The status names each fault within ten seconds, and drops it within ten seconds of its repair; the operator has its own default
periods. The tests repair each fault as its message says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster_kit.cluster import Cluster
from operator_kit.end_state import children
from operator_kit.live_endpoint import SOON_S, START_S, LiveEndpoint

IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def _route(host: str, class_name: str = "") -> dict[str, Any]:
    return {"exposure": {"ingress": {"host": host, **({"className": class_name} if class_name else {})}}}


@pytest.fixture
def ingress_class(cluster: Cluster, namespace: str) -> Iterator[Any]:
    """Makes an IngressClass of a name that no other test has."""
    name = f"class-of-{namespace}"

    def make(*, default: bool = False) -> str:
        spec = {"controller": "example.com/none"}
        about = {"name": name, "annotations": {IS_DEFAULT: "true"} if default else {}}
        cluster.apply({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": about, "spec": spec})
        return name

    make.__dict__["named"] = name
    yield make
    cluster.delete("ingressclass", name)


def test_no_ingress_class(endpoint: LiveEndpoint, ingress_class: Any) -> None:
    name = ingress_class.named
    endpoint.apply(_route("speech.example.com", name))
    told = endpoint.expect(
        START_S, Ready="False IngressClassMissing", Exposed="False IngressClassMissing", Available="True Available"
    )
    assert told["Exposed"].startswith(f"There is no IngressClass {name}: no controller serves the Ingress.")
    assert told["Ready"].endswith("Meanwhile 1 pod serves.")
    ingress_class()
    endpoint.expect(SOON_S, Ready="True Ready", Exposed="True AddressPending")
    endpoint.cluster.delete("ingressclass", name)
    endpoint.expect(SOON_S, Ready="False IngressClassMissing", Exposed="False IngressClassMissing")


def test_no_default_ingress_class(endpoint: LiveEndpoint) -> None:
    endpoint.apply(_route("speech.example.com"))
    told = endpoint.expect(START_S, Exposed="False IngressClassMissing")
    assert told["Exposed"].startswith(
        "exposure.ingress.className is not set and the cluster has no default IngressClass"
    )
    endpoint.apply({"exposure": None})
    endpoint.expect(SOON_S, Ready="True Ready")
    assert "Exposed" not in {one["type"] for one in endpoint.document()["status"]["conditions"]}


def test_a_default_ingress_class_that_comes_later(endpoint: LiveEndpoint, ingress_class: Any) -> None:
    cluster, where = endpoint.cluster, (endpoint.name, endpoint.namespace)
    endpoint.apply(_route("speech.example.com"))
    endpoint.expect(START_S, Exposed="False IngressClassMissing", Available="True Available")
    assert "ingressClassName" not in cluster.get("ingress", *where)["spec"]
    name = ingress_class(default=True)
    endpoint.expect(SOON_S, Ready="True Ready", Exposed="True AddressPending")
    assert cluster.get("ingress", *where)["spec"]["ingressClassName"] == name
    cluster.delete("ingressclass", name)
    endpoint.expect(SOON_S, Exposed="False IngressClassMissing")


def test_two_endpoints_on_one_route(
    cluster: Cluster, namespace: str, punctual_operator: None, ingress_class: Any
) -> None:
    older, younger = (LiveEndpoint(cluster, namespace, name) for name in ("older", "younger"))
    route = _route("speech.example.com", ingress_class())
    older.apply(route)
    older.expect(START_S, Ready="True Ready", Exposed="True AddressPending")
    time.sleep(1.1)  # times of creation have no fractions
    younger.apply(route)
    told = younger.expect(
        SOON_S, Ready="False RouteConflict", Exposed="False RouteConflict", Available="True Available"
    )
    assert told["Exposed"] == (
        f"speech.example.com/ of IngressClass {ingress_class.named} belongs to the older WhisperEndpoint {namespace}/older: "
        "change exposure.ingress.host or path, or delete that one."
    )
    older.expect(1, Ready="True Ready")
    assert "Ingress/younger" not in children(cluster, namespace)
    cluster.delete("wep", "older", namespace=namespace, wait=False)
    younger.expect(SOON_S, Ready="True Ready", Exposed="True AddressPending")
    assert "Ingress/younger" in children(cluster, namespace)


def test_no_gateway_api(endpoint: LiveEndpoint) -> None:
    if "httproutes" in endpoint.cluster.kubectl("api-resources", "--no-headers"):
        pytest.skip("this cluster has the Gateway API")
    endpoint.apply({"exposure": {"gateway": {"parentRefs": [{"name": "web"}]}}})
    endpoint.expect(START_S, Ready="False GatewayApiMissing", Exposed="False GatewayApiMissing")


def test_a_name_in_use(endpoint: LiveEndpoint) -> None:
    where = f"--namespace={endpoint.namespace}"
    endpoint.cluster.kubectl("create", "service", "clusterip", "speech", "--tcp=80", where)
    theirs = endpoint.cluster.get("service", "speech", endpoint.namespace)
    endpoint.apply()
    told = endpoint.expect(START_S, Ready="False NameTaken", Valid="False NameTaken")
    assert told["Valid"].startswith(
        "Service speech is there already and does not belong to this endpoint: it is left untouched."
    )
    assert endpoint.cluster.get("service", "speech", endpoint.namespace) == theirs
    endpoint.cluster.delete("service", "speech", namespace=endpoint.namespace)
    endpoint.expect(SOON_S, Ready="True Ready", Valid="True Valid")


def test_what_only_the_operator_can_see(endpoint: LiveEndpoint) -> None:
    t4 = {"gpu": {"class": "t4"}}
    endpoint.apply(t4)
    endpoint.expect(START_S, Ready="True Ready")
    before = [pod["metadata"]["uid"] for pod in endpoint.pods()]
    terms: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    endpoint.apply({**t4, "pod": {"affinity": {"nodeAffinity": terms}}})
    told = endpoint.expect(SOON_S, Ready="False InvalidSpec", Valid="False InvalidSpec", Available="True Available")
    assert told["Valid"].startswith("spec.pod.affinity.nodeAffinity.")
    assert told["Valid"].endswith("write one, or leave the terms out. Nothing is changed until it is fixed.")
    assert told["Ready"].endswith("Meanwhile 1 pod serves.")
    assert [pod["metadata"]["uid"] for pod in endpoint.pods()] == before
    endpoint.apply(t4)
    endpoint.expect(SOON_S, Ready="True Ready", Valid="True Valid")


def test_suspended_and_scaled_to_zero(serving: LiveEndpoint) -> None:
    serving.apply({"suspend": True})
    serving.expect(SOON_S, Ready="False Suspended", Available="False Suspended", Scheduled="Unknown Suspended")
    serving.apply({"suspend": False})
    serving.expect(SOON_S, Ready="True Ready")
    serving.cluster.kubectl("scale", "wep", "speech", f"--namespace={serving.namespace}", "--replicas=0")
    serving.expect(SOON_S, Ready="False ScaledToZero", Available="False ScaledToZero")
    serving.cluster.kubectl("scale", "wep", "speech", f"--namespace={serving.namespace}", "--replicas=2")
    serving.expect(SOON_S, Ready="True Ready", Progressing="True RolledOut")
    assert serving.message() == f"2 pods serve at http://speech.{serving.namespace}.svc.cluster.local/v1."
    assert serving.document()["status"]["readyReplicas"] == 2


def test_an_autoscaler_without_metrics(endpoint: LiveEndpoint) -> None:
    if "metrics.k8s.io" in endpoint.cluster.kubectl("api-versions"):
        pytest.skip("this cluster has metrics")
    endpoint.apply({"autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80}})
    endpoint.expect(START_S, Ready="True Ready")
    # The autoscaler looks every 15 s.
    told = endpoint.expect(40, Ready="True Ready", Autoscaling="False FailedGetResourceMetric")
    assert "unable to get metrics for resource cpu" in told["Autoscaling"]
    assert told["Autoscaling"].endswith("autoscaling.metric cpu needs metrics-server: `kubectl top pods` must work.")
    before = set(children(endpoint.cluster, endpoint.namespace))
    endpoint.apply({"suspend": True, "autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80}})
    endpoint.expect(SOON_S, Ready="False Suspended", Autoscaling="False Suspended")
    assert before - set(children(endpoint.cluster, endpoint.namespace)) == {"HorizontalPodAutoscaler/speech"}
    endpoint.apply()
    endpoint.expect(SOON_S, Ready="True Ready")
    assert "Autoscaling" not in {one["type"] for one in endpoint.document()["status"]["conditions"]}
