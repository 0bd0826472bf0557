"""The chart's ValidatingAdmissionPolicy on a real API server: it refuses what the operator refuses, when it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chart_kit.charts import OPERATOR, render
from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.endpoints import make_endpoint
from operator_kit.policy_cases import ALLOWED, OF_ALLOWED, OF_OTHERS, TEXT_FOR_PROXIES

pytestmark = pytest.mark.usefixtures("crd")

KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
OTHER = "evil.example/x:1"
SNIPPET = TEXT_FOR_PROXIES[0]


def admission(namespace: str, **policy: Any) -> list[dict[str, Any]]:
    """The policy and its binding, for one namespace."""
    values = {"policy": {"admission": True, **policy}, "watch": {"namespaces": [namespace]}}
    return [document for document in render(OPERATOR, values=values) if document["kind"] in KINDS]


@pytest.fixture
def strict(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A namespace in which the policy is in force."""
    documents = admission(namespace, allowedImageRegistries=list(ALLOWED))
    cluster.apply(*documents)
    in_force = {"pod": {"image": OTHER}}
    cluster.wait(lambda: refusal(cluster, namespace, in_force), 60, "the policy is in force")
    yield namespace
    for document in documents:
        cluster.delete(document["kind"], document["metadata"]["name"])


def refusal(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> str:
    """What the API server says of a new endpoint; empty: it takes it."""
    text = json.dumps(make_endpoint(spec, namespace=namespace, name="tried"))
    try:
        cluster.kubectl("create", "--dry-run=server", "-f-", stdin=text)
    except CommandFailed as failed:
        return str(failed)
    return ""


def refused(cluster: Cluster, namespace: str, specs: dict[str, dict[str, Any]]) -> set[str]:
    """Keys of the specs that the API server refuses; each refusal names what it refuses."""
    names = {f"tried-{number}": key for number, key in enumerate(specs)}
    endpoints = [make_endpoint(specs[key], namespace=namespace, name=name) for name, key in names.items()]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": endpoints})
    try:
        cluster.kubectl("create", "--dry-run=server", "-f-", stdin=text)
    except CommandFailed as failed:
        return {
            key
            for key in specs
            if f"{key} is not from a registry" in str(failed) or f"annotation {key}:" in str(failed)
        }
    return set()


def test_api_server_refuses_the_images_and_annotations_that_the_operator_refuses(cluster: Cluster, strict: str) -> None:
    others = {image for image in OF_OTHERS if not image.startswith("HOST/")}  # which the CRD refuses
    images = {image: {"pod": {"image": image}} for image in (*OF_ALLOWED, *others)}
    assert refused(cluster, strict, images) == others
    keys = (*TEXT_FOR_PROXIES, "nginx.ingress.kubernetes.io/limit-rps")
    annotated = {key: {"exposure": {"ingress": {"annotations": {key: "x"}}}} for key in keys}
    assert refused(cluster, strict, annotated) == set(TEXT_FOR_PROXIES)
    places: list[dict[str, Any]] = [
        {"service": {"annotations": {SNIPPET: "x"}}},
        {"pod": {"annotations": {SNIPPET: "x"}}},
        {"commonAnnotations": {SNIPPET: "x"}},
    ]
    for spec in places:
        assert f"annotation {SNIPPET}:" in refusal(cluster, strict, spec)
    models = {"cache": {"image": {"reference": OTHER}}, "model": {"id": "/models/x"}}
    assert f"{OTHER} is not from a registry" in refusal(cluster, strict, models)
    for field in ("initContainers", "sidecars"):
        containers = {"pod": {field: [{"name": "extra", "image": OTHER}]}}
        assert f"{OTHER} is not from a registry" in refusal(cluster, strict, containers)
    assert refusal(cluster, strict, {}) == ""


def test_endpoint_from_before_may_change_but_for_the_worse(cluster: Cluster, namespace: str) -> None:
    before = {"pod": {"image": OTHER}, "service": {"annotations": {SNIPPET: "x"}}}
    cluster.kubectl("create", "-f-", stdin=json.dumps(make_endpoint(before, namespace=namespace, name="old")))
    documents = admission(namespace, allowedImageRegistries=list(ALLOWED))
    cluster.apply(*documents)
    try:
        cluster.wait(lambda: refusal(cluster, namespace, before), 60, "the policy is in force")
        cluster.kubectl("scale", "wep", "old", "--replicas=2", f"--namespace={namespace}")
        patch = ("patch", "wep", "old", f"--namespace={namespace}", "--type=merge", "-p")
        cluster.kubectl(*patch, json.dumps({"spec": {"replicas": 3}}))
        with pytest.raises(CommandFailed, match=r"evil.example/y:1 is not from a registry"):
            cluster.kubectl(*patch, json.dumps({"spec": {"pod": {"image": "evil.example/y:1"}}}))
        with pytest.raises(CommandFailed, match=f"refuses the annotation {SNIPPET}"):
            cluster.kubectl(*patch, json.dumps({"spec": {"pod": {"annotations": {SNIPPET: "x"}}}}))
    finally:
        for document in documents:
            cluster.delete(document["kind"], document["metadata"]["name"])


def test_policy_of_a_release_holds_in_its_namespaces_only(cluster: Cluster, strict: str) -> None:
    assert refusal(cluster, "default", {"pod": {"image": OTHER}}) == ""
    assert refusal(cluster, strict, {"pod": {"image": OTHER}}) != ""


def test_chart_makes_no_policy_unless_asked_for(namespace: str) -> None:
    assert not [one for one in render(OPERATOR) if one["kind"] in KINDS]
    assert admission(namespace, refusedAnnotations=[]) == []
    mirrored = admission(namespace, allowedImageRegistries=["mirror.example"])
    assert [one["kind"] for one in mirrored] == list(KINDS)
