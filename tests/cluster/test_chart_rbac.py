"""Rights: the operator's are what its code uses, no more and no less, in both modes; people get theirs by aggregation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chart_kit.charts import OPERATOR, only, render
from chart_kit.operators import operator_of
from chart_kit.other_kinds import other_kinds
from chart_kit.releases import allowed, released
from cluster_kit.audit import Request
from cluster_kit.cluster import Cluster
from cluster_kit.reading import condition
from cluster_kit.simulated_pods import STAGE
from operator_kit.endpoints import make_endpoint

COPIED = ("deployment", "service", "poddisruptionbudget", "serviceaccount")
"""Children that every endpoint has: the operator deletes one only where somebody has made a copy."""
SELDOM = {
    ("get", "pods"),
    ("get", "endpointslices.discovery.k8s.io"),
    ("get", "whisperendpoints.whisper-operator.io"),
    ("list", "nodes"),
    ("get", "pods/log"),
}
"""Asked for where a watch has missed something, which cannot be brought about at will, or where a pod gets no GPU, or while one preloads a model: simulated pods are done at once."""
PEOPLE = {
    "view": {"get", "list", "watch"},
    "edit": {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
    "admin": {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
}
WEP = "whisperendpoints.whisper-operator.io"


@pytest.fixture(scope="module", autouse=True)
def kinds(cluster: Cluster) -> Iterator[None]:
    with other_kinds(cluster):
        yield


@pytest.fixture
def ingress_class(cluster: Cluster) -> Iterator[None]:
    spec = {"controller": "projectcontour.io/ingress-controller"}
    api_version = "networking.k8s.io/v1"
    cluster.apply({"apiVersion": api_version, "kind": "IngressClass", "metadata": {"name": "contour"}, "spec": spec})
    yield
    cluster.delete("ingressclass", "contour")


def full_endpoint(namespace: str) -> dict[str, Any]:
    """One of every child but an HTTPRoute."""
    return make_endpoint(
        {
            "model": {"id": "owner/name", "tokenSecretRef": {"name": "token"}},
            "gpu": {"class": "none"},
            "access": {"apiKeysSecretRef": {"name": "keys"}},
            "exposure": {"ingress": {"className": "contour", "host": "speech.example.com"}},
            "autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80},
            "cache": {"persistentVolumeClaim": {"size": "1Gi"}, "preload": True},
        },
        name="full",
        namespace=namespace,
    )


def routed_endpoint(namespace: str) -> dict[str, Any]:
    spec = {
        "gpu": {"class": "none"},
        "exposure": {"gateway": {"parentRefs": [{"name": "entry"}], "hostnames": ["routed.example.com"]}},
        "autoscaling": {"maxReplicas": 3, "metric": "sessions", "target": 8},
        "pod": {"annotations": {STAGE: "failed-mount"}},
    }
    return make_endpoint(spec, name="routed", namespace=namespace)


def default_class_endpoint(namespace: str) -> dict[str, Any]:
    """Its class is to be found."""
    spec = {"gpu": {"class": "none"}, "exposure": {"ingress": {"host": "other.example.com"}}}
    return make_endpoint(spec, name="other", namespace=namespace)


def claiming_endpoint(namespace: str) -> dict[str, Any]:
    """Its pods get no device."""
    spec = {"gpu": {"class": "auto", "deviceClassName": "gpu.nvidia.com"}}
    return make_endpoint(spec, name="claiming", namespace=namespace)


def bare_endpoint(namespace: str, name: str) -> dict[str, Any]:
    """What is left when all that can be left out is."""
    spec = {
        "gpu": {"class": "none"},
        "access": {"networkPolicy": {"enabled": False}},
        "pod": {"serviceAccountName": "default"},
    }
    return make_endpoint(spec, name=name, namespace=namespace)


def secret(namespace: str, name: str, key: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: "x"}}


def reason(cluster: Cluster, name: str, namespace: str) -> str:
    word: str = condition(cluster.get("wep", name, namespace), "Ready").get("reason", "")
    return word


def copy_of(document: dict[str, Any]) -> dict[str, Any]:
    """Of another name, with all labels and owners, as somebody makes who edits what `kubectl get -oyaml` printed."""
    metadata = {key: document["metadata"][key] for key in ("labels", "namespace", "ownerReferences")}
    spec = {key: value for key, value in document.get("spec", {}).items() if key not in {"clusterIP", "clusterIPs"}}
    copied = {**document, "metadata": {**metadata, "name": f"{document['metadata']['name']}-copy"}}
    return {key: spec if key == "spec" else value for key, value in copied.items() if key != "status"}


def copies_left(cluster: Cluster, namespace: str) -> list[str]:
    found = [one["metadata"]["name"] for kind in COPIED for one in cluster.find(kind, namespace)]
    return [name for name in found if name.endswith("-copy")]


def children(cluster: Cluster, namespace: str) -> set[str]:
    kinds = "deploy,svc,sa,pdb,hpa,ing,netpol,pvc,httproute,podmonitor,resourceclaimtemplates,scaledobjects.keda.sh"
    return {one["kind"] for one in cluster.find(kinds, namespace, "app.kubernetes.io/managed-by=whisper-operator")}


def rights(documents: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Verb and resource of all that the operator's roles grant."""
    granted = set()
    for document in documents:
        if document["kind"] in {"Role", "ClusterRole"} and not document["metadata"]["name"].endswith(
            (":view", ":edit", "-test")
        ):
            for rule in document["rules"]:
                for resource in rule["resources"]:
                    plural, _, below = resource.partition("/")
                    named = ".".join(filter(None, [plural, *rule["apiGroups"]]))
                    granted |= {(verb, "/".join(filter(None, [named, below]))) for verb in rule["verbs"]}
    return granted


def used(requests: list[Request]) -> set[tuple[str, str]]:
    """The same of what was asked. What server-side apply makes needs the right to create, too."""
    asked = {(one.verb, one.resource) for one in requests if one.resource}
    return asked | {("create", one.resource) for one in requests if one.verb == "patch" and one.code == 201}


@pytest.mark.usefixtures("ingress_class")
def test_the_operator_needs_all_of_its_rights_and_no_other(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with released(cluster, namespace) as release:
        with operator_of(release, tmp_path / "first", {"PROMETHEUS_URL": "http://prometheus:9090"}).running():
            cluster.apply(full_endpoint(namespace), routed_endpoint(namespace))
            cluster.apply(default_class_endpoint(namespace), claiming_endpoint(namespace))
            cluster.wait(lambda: reason(cluster, "full", namespace) == "SecretMissing", 60, "the Secrets are missed")
            cluster.apply(secret(namespace, "token", "token"), secret(namespace, "keys", "anna"))
            cluster.wait(lambda: reason(cluster, "full", namespace) == "Ready", 60, "full is ready")
            cluster.wait(lambda: reason(cluster, "routed", namespace) == "FailedMount", 60, "the event was read")
            cluster.wait(
                lambda: reason(cluster, "other", namespace) == "IngressClassMissing", 60, "no class is the default one"
            )
            cluster.wait(lambda: len(children(cluster, namespace)) == 12, 60, "every child is made")
            cluster.apply(*[copy_of(cluster.get(kind, "full", namespace)) for kind in COPIED])
            cluster.wait(lambda: not copies_left(cluster, namespace), 60, "the copies are gone")
        # Without PodMonitors, and with endpoints that need as little as can be: all else goes.
        with operator_of(release, tmp_path / "second", {"POD_MONITORS": "0"}).running():
            for name in ("full", "routed", "other", "claiming"):
                cluster.replace(bare_endpoint(namespace, name))
            left = {"Deployment", "Service", "PodDisruptionBudget"}
            cluster.wait(lambda: children(cluster, namespace) == left, 60, "what is not asked for is gone")
        requests = cluster.requests(release.fullname, namespace)
        assert [one for one in requests if one.code == 403] == []
        granted = rights(render(OPERATOR, namespace=namespace))
        assert granted - used(requests) == SELDOM
        assert used(requests) - granted == set()


@pytest.mark.before_release(because="the rights of the whole cluster are counted in the same way")
def test_in_its_namespaces_it_needs_no_right_elsewhere(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    values = {
        "watch": {"namespaces": [namespace]},
        "rbac": {
            "readSecrets": False,
            "readIngressClasses": False,
            "readNodes": False,
            "readPodLogs": False,
            "aggregate": False,
        },
        "ingressController": "contour",
    }
    with released(cluster, namespace, values) as release:
        elsewhere = [one["kind"] for one in release.documents() if "namespace" not in one["metadata"]]
        assert elsewhere == ["CustomResourceDefinition"]
        cluster.apply(bare_endpoint("default", "not-mine"))
        with operator_of(release, tmp_path).running() as operator:
            cluster.apply(full_endpoint(namespace))
            cluster.wait(lambda: len(children(cluster, namespace)) == 9, 60, "all but an HTTPRoute is made")
            exposed = cluster.get("ingress", "full", namespace)["metadata"]["annotations"]
            assert exposed["projectcontour.io/response-timeout"] == "infinity"
            cluster.wait(lambda: reason(cluster, "full", namespace) == "Ready", 60, "full is ready")
            assert operator.metrics()["endpoints", 'ready="True",reason="Ready"'] == 1
        assert "status" not in cluster.get("wep", "not-mine")
        requests = cluster.requests(release.fullname, namespace)
        assert {one.resource for one in requests if one.code == 403} <= {"ingressclasses.networking.k8s.io", "nodes"}
        assert "secrets" not in {one.resource for one in requests}
        cluster.delete("wep", "not-mine")


def test_what_the_operator_may_not(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace) as release:
        user = f"system:serviceaccount:{namespace}:{release.fullname}"
        questions = [
            ("get", "secrets"),
            ("list", "secrets"),
            ("watch", "secrets"),
            ("create", "secrets"),
            ("patch", "secrets"),
            ("create", "pods"),
            ("delete", "pods"),
            ("create", "pods/exec"),
            ("get", "pods/log"),
            ("get", "configmaps"),
            ("list", "nodes"),
            ("watch", "nodes"),
            ("patch", "nodes"),
            ("list", "namespaces"),
            ("list", "customresourcedefinitions.apiextensions.k8s.io"),
            ("create", "roles.rbac.authorization.k8s.io"),
            ("create", "rolebindings.rbac.authorization.k8s.io"),
            ("create", "serviceaccounts/token"),
            ("impersonate", "users"),
            ("create", WEP),
            ("delete", WEP),
            ("patch", WEP),
            ("update", f"{WEP}/status"),
            ("deletecollection", "deployments.apps"),
            ("get", "leases.coordination.k8s.io", release.fullname),
            ("*", "*"),
        ]
        assert allowed(cluster, user, questions, "kube-system") == {
            ("get", "secrets"),
            ("list", "nodes"),  # rbac.readNodes: what GPUs nodes have, while a pod gets none
            ("get", "pods/log"),  # rbac.readPodLogs: how far a preload is
        }
        lease = [("update", "leases.coordination.k8s.io", name) for name in (release.fullname, "another")]
        assert allowed(cluster, user, lease, namespace) == {lease[0]}
        release.upgrade({"rbac": {"readSecrets": False, "readPodLogs": False}})
        assert allowed(cluster, user, [("get", "secrets"), ("get", "pods/log")], namespace) == set()


def test_helm_test_may_touch_nothing_but_its_endpoint(cluster: Cluster, namespace: str) -> None:
    hooks = [
        one for one in render(OPERATOR, namespace=namespace) if "helm.sh/hook" in one["metadata"].get("annotations", {})
    ]
    cluster.apply(*[one for one in hooks if one["kind"] in {"ServiceAccount", "Role", "RoleBinding"}])
    user = f"system:serviceaccount:{namespace}:{only(hooks, 'ServiceAccount')['metadata']['name']}"
    name = json.loads(only(hooks, "ConfigMap")["data"]["endpoint.json"])["metadata"]["name"]
    does = [("create", WEP), ("get", WEP, name), ("delete", WEP, name)]
    does_not = [("delete", WEP, "another"), ("patch", WEP, name), ("list", WEP), ("get", "secrets"), ("get", "pods")]
    assert allowed(cluster, user, [*does, *does_not], namespace) == set(does)


@pytest.mark.parametrize("role", PEOPLE)
def test_people_get_their_rights_with_those_of_the_namespace(cluster: Cluster, namespace: str, role: str) -> None:
    with released(cluster, namespace):
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "anna", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "anna"}],
        }
        cluster.apply(binding)
        resources = (WEP, f"{WEP}/status", f"{WEP}/scale")
        questions = [(verb, resource) for verb in sorted(PEOPLE["admin"]) for resource in resources]
        writes = {"update", "patch"} if role != "view" else set()
        expected = {(verb, WEP) for verb in PEOPLE[role]}
        expected |= {(verb, f"{WEP}/status") for verb in PEOPLE["view"]}
        expected |= {(verb, f"{WEP}/scale") for verb in PEOPLE["view"] | writes}
        cluster.wait(
            lambda: allowed(cluster, "anna", questions, namespace) == expected, 30, "the roles are put together"
        )
        assert allowed(cluster, "anna", questions, "default") == set()
