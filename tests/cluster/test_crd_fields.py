"""Each field of the CRD by itself on a real API server: types, limits, unknown fields; and what kubectl makes of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.bad_values import BadValue, bad_values
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import refusals
from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.declared import declared_fields
from whisper_operator.resource.spec import Spec

SCHEMA = make_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
SECTIONS = [field.name for field in declared_fields(Spec)]


pytestmark = pytest.mark.usefixtures("crd")


@pytest.mark.parametrize("section", SECTIONS)
def test_values_beyond_a_limit_are_refused(cluster: Cluster, section: str) -> None:
    bad = {
        f"case-{n}": one for n, one in enumerate(bad_values(SCHEMA["spec"]["properties"][section], f"spec.{section}"))
    }
    said = refusals(cluster, [_document(name, section, one) for name, one in bad.items()])
    for name, one in bad.items():
        assert f"{_where(one)}: " in said.get(name, "taken"), one


def _document(name: str, section: str, bad: BadValue) -> dict[str, Any]:
    document = make_endpoint(name=name, namespace="default")
    return {**document, "spec": {**document["spec"], section: bad.document}}


def _where(bad: BadValue) -> str:
    kind, _, name = bad.why.partition(" ")
    if kind == "required":
        return f"{bad.path}.{name}"
    if kind == "duplicate":
        return f"{bad.path}[1]"
    return bad.path


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"replica": 2}, "spec.replica"),
        ({"gpu": {"clazz": "t4"}}, "spec.gpu.clazz"),
        ({"pod": {"affinity": {"nodeAfinity": {}}}}, "spec.pod.affinity.nodeAfinity"),
        ({"pod": {"resources": {"claims": []}}}, "spec.pod.resources.claims"),
        ({"pod": {"env": [{"name": "A", "values": "b"}]}}, "spec.pod.env[0].values"),
        ({"exposure": {"gateway": {"parentRefs": [{"name": "web", "hostname": "a"}]}}}, "spec.exposure.gateway.parentRefs[0].hostname"),
    ],
)  # fmt: skip
def test_unknown_fields_are_named(cluster: Cluster, namespace: str, spec: dict[str, Any], path: str) -> None:
    document = json.dumps(make_endpoint(spec, namespace=namespace))
    with pytest.raises(CommandFailed, match=f'unknown field "{re.escape(path)}"'):
        cluster.kubectl("apply", "-f-", stdin=document)
    with pytest.raises(CommandFailed, match=f"{path.rsplit('.', maxsplit=1)[-1]}: field not declared in schema"):
        cluster.kubectl("apply", "--server-side", "-f-", stdin=document)


def test_explain_tells_what_each_field_means(cluster: Cluster) -> None:
    said = " ".join(cluster.kubectl("explain", "wep.spec.gpu.class").split())
    assert "t4 (compute capability 7.5)" in said
    for deep in ("wep.spec.pod.affinity.nodeAffinity", "wep.status.conditions.reason", "wep.spec.gpu.minMemoryGiB"):
        assert "DESCRIPTION: <empty>" not in " ".join(cluster.kubectl("explain", deep).split())
    every = cluster.kubectl("explain", "wep", "--recursive")
    assert [name for name in SECTIONS if f"\n    {name}\t<" not in every] == []


def _with_status(cluster: Cluster, namespace: str) -> None:
    cluster.apply(make_endpoint({"gpu": {"class": "t4"}}, namespace=namespace))
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "ModelLoading",
        "message": "the model is being downloaded",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    status = {
        "observedGeneration": 1,
        "replicas": 2,
        "readyReplicas": 1,
        "selector": "whisper-operator.io/endpoint=speech",
        "url": "http://speech.team-a.svc.cluster.local/v1",
        "resolved": {"engine": "vllm"},
        "conditions": [condition],
    }
    patch = json.dumps({"status": status})
    where = f"--namespace={namespace}"
    cluster.kubectl("patch", "wep", "speech", where, "--subresource=status", "--type=merge", f"--patch={patch}")


def test_columns(cluster: Cluster, namespace: str) -> None:
    _with_status(cluster, namespace)
    heads, row = cluster.kubectl("get", "wep", f"--namespace={namespace}").splitlines()
    assert heads.split() == ["NAME", "READY", "REASON", "MODEL", "GPU", "REPLICAS", "URL", "AGE"]
    url = "http://speech.team-a.svc.cluster.local/v1"
    assert row.split()[:-1] == ["speech", "False", "ModelLoading", "demo", "t4", "2", url]
    wide = cluster.kubectl("get", "wep", f"--namespace={namespace}", "-owide").splitlines()
    assert wide[0].split()[8:] == ["SERVING", "ENGINE", "MESSAGE"]
    assert wide[1].split()[8:] == ["1", "vllm", "the", "model", "is", "being", "downloaded"]


@pytest.mark.parametrize("name", ["wep", "whisperendpoint", "whisperendpoints.whisper-operator.io", "whisper", "all"])
def test_names_that_kubectl_knows(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.apply(make_endpoint(namespace=namespace))
    listed = cluster.kubectl("get", name, f"--namespace={namespace}", "-oname")
    assert listed.split() == ["whisperendpoint.whisper-operator.io/speech"]


def test_scale_subresource(cluster: Cluster, namespace: str) -> None:
    _with_status(cluster, namespace)
    cluster.kubectl("scale", "wep/speech", "--replicas=5", f"--namespace={namespace}")
    path = f"/apis/whisper-operator.io/v1alpha1/namespaces/{namespace}/whisperendpoints/speech/scale"
    scale = json.loads(cluster.kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == {"replicas": 2, "selector": "whisper-operator.io/endpoint=speech"}


def test_endpoints_are_found_by_what_they_ask_for(cluster: Cluster, namespace: str) -> None:
    cluster.apply(
        make_endpoint({"gpu": {"class": "t4"}}, name="on-t4", namespace=namespace),
        make_endpoint(name="anywhere", namespace=namespace),
    )
    selector = "--field-selector=spec.gpu.class=t4,spec.model.id=demo"
    listed = cluster.kubectl("get", "wep", f"--namespace={namespace}", selector, "-oname")
    assert listed.split() == ["whisperendpoint.whisper-operator.io/on-t4"]


def test_the_status_is_written_apart(cluster: Cluster, namespace: str) -> None:
    _with_status(cluster, namespace)
    before = cluster.get("wep", "speech", namespace)
    cluster.apply(make_endpoint({"replicas": 3}, namespace=namespace) | {"status": {"url": "http://elsewhere"}})
    after = cluster.get("wep", "speech", namespace)
    assert after["status"] == before["status"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1


def test_two_field_managers_share_lists_and_maps(cluster: Cluster, namespace: str) -> None:
    def applied(manager: str, **pod: Any) -> None:
        cluster.apply(make_endpoint({"pod": pod}, namespace=namespace), manager=manager)

    applied("one", env=[{"name": "A", "value": "1"}], labels={"a": "1"}, imagePullSecrets=[{"name": "a"}])
    applied("two", env=[{"name": "B", "value": "2"}], labels={"b": "2"}, imagePullSecrets=[{"name": "b"}])
    pod = cluster.get("wep", "speech", namespace)["spec"]["pod"]
    assert {one["name"] for one in pod["env"]} == {"A", "B"}
    assert pod["labels"] == {"a": "1", "b": "2"}
    assert {one["name"] for one in pod["imagePullSecrets"]} == {"a", "b"}
