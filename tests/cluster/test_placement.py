"""Where the real scheduler puts the pods, and that the real API server takes every document as it is written.

The documents come straight from `manifests`: no operator runs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_kit.cluster import Cluster, CommandFailed, Document
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import BY_NAME, CATALOGUE, GPU, NodeSpec, discovered
from cluster_kit.simulated_pods import TERMINATING
from operator_kit.endpoints import merged
from operator_kit.placed import documents, landed, lands_on, pods, scheduler_said

SERVED = frozenset({"HTTPRoute", "PodMonitor"})
CRDS = Path(__file__).parent / "crds"
EVERYWHERE = {node.name for node in CATALOGUE if node.gpus}
TYPE = "node.kubernetes.io/instance-type"
GKE = "cloud.google.com/gke-accelerator"


def gpus_of(*names: str) -> dict[str, int]:
    return {name: BY_NAME[name].gpus for name in names}


T4_NODES = ("t4-0", "t4-1", "gke-t4", "karpenter-t4")
WHOLE = tuple(sorted(EVERYWHERE - {"t4-shared", "a100-mig"}))
SHARED = {"engine": {"gpuMemoryUtilization": 0.4}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"gpu": {"class": "t4"}}, T4_NODES),
        ({"gpu": {"class": "ampere"}}, ("a100", "a10")),
        ({"gpu": {"class": "ada"}}, ("l4", "gke-l4")),
        ({"gpu": {"class": "hopper"}}, ("h100",)),
        ({"gpu": {"class": "blackwell"}}, ("b200",)),
        ({"gpu": {"class": "auto"}}, WHOLE),
        ({"gpu": {"class": "auto", "minMemoryGiB": 24}}, ("a100", "a10", "l4", "h100", "b200", "gke-l4")),
        ({"gpu": {"class": "t4", "minMemoryGiB": 16}}, T4_NODES),
        ({"gpu": {"class": "ampere", "minMemoryGiB": 30}}, ("a100",)),
        ({"gpu": {"class": "t4", "shared": True}, **SHARED}, (*T4_NODES, "t4-shared")),
        ({"gpu": {"class": "ampere", "shared": True}, **SHARED}, ("a100", "a10", "a100-mig")),
        ({"gpu": {"class": "auto", "shared": True}, **SHARED}, tuple(EVERYWHERE)),
    ],
    ids=lambda value: json.dumps(value.get("gpu")) if isinstance(value, dict) else "",
)
def test_a_class_lands_on_its_nodes_and_on_no_other(
    cluster: Cluster, namespace: str, spec: Document, expected: tuple[str, ...]
) -> None:
    lands_on(cluster, namespace, spec, gpus_of(*expected))


def test_a_mig_slice_with_its_own_resource_name(cluster: Cluster, nodes: Nodes, namespace: str) -> None:
    resource = "nvidia.com/mig-2g.10gb"
    labels = {
        **discovered("NVIDIA-A100-SXM4-40GB", "ampere", "8.0", 40960, other={"mig.strategy": "mixed"}),
        f"{resource}.memory": "9856",
    }
    nodes.only(NodeSpec("mixed", 0, labels, "present", resources={resource: "3"}), "a100", "cpu")
    gpu = {"class": "ampere", "resourceName": resource, "minMemoryGiB": 10}
    lands_on(cluster, namespace, {"gpu": gpu}, {"mixed": 3})


def test_without_a_gpu_pods_stay_off_tainted_nodes(cluster: Cluster, namespace: str) -> None:
    found = landed(cluster, namespace, {"gpu": {"class": "none"}}, replicas=6)
    assert sum(found.values()) == 6
    assert set(found) <= {name for name, node in BY_NAME.items() if node.taint is None}


def test_a_users_own_terms_narrow_and_never_widen(cluster: Cluster, namespace: str) -> None:
    terms = [
        {"matchExpressions": [{"key": GKE, "operator": "Exists"}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["t4-1"]}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a100"]}]},
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec = {"gpu": {"class": "t4"}, "pod": {"affinity": {"nodeAffinity": required}}}
    lands_on(cluster, namespace, spec, {"gke-t4": 1, "t4-1": 1})


def test_a_users_node_selector_narrows(cluster: Cluster, namespace: str) -> None:
    spec = {"gpu": {"class": "t4"}, "pod": {"nodeSelector": {TYPE: "g4dn.xlarge"}}}
    lands_on(cluster, namespace, spec, {"karpenter-t4": 1})


def test_status_says_why_no_gpu_is_found(cluster: Cluster, nodes: Nodes, namespace: str) -> None:
    nodes.only("t4-0", "cpu")
    lands_on(cluster, namespace, {"gpu": {"class": "t4"}}, {"t4-0": 1})
    reasons = {scheduler_said(pod) for pod in pods(cluster, namespace)} - {""}
    assert any(f"Insufficient {GPU}" in reason for reason in reasons)


def test_one_gpu_and_one_replica_roll_without_a_spare(cluster: Cluster, nodes: Nodes, namespace: str) -> None:
    nodes.only("t4-0", "cpu")
    spec = {"gpu": {"class": "t4"}, "pod": {"annotations": {TERMINATING: "1s"}}}
    cluster.apply(*documents(spec, namespace))

    def ready_with(image: str) -> bool:
        status = cluster.get("deployment", "speech", namespace)["status"]
        found = pods(cluster, namespace)
        return status.get("readyReplicas") == 1 and [pod["spec"]["containers"][0]["image"] for pod in found] == [image]

    image = "registry.example/whisper-server:2"
    cluster.wait(lambda: cluster.get("deployment", "speech", namespace)["status"].get("readyReplicas"), 30, "runs")
    cluster.apply(*documents(merged(spec, {"pod": {"image": image}}), namespace))
    cluster.wait(lambda: ready_with(image), 30, "the new pod has the old one's GPU")


FULL: Document = {
    "model": {"id": "/models/large", "tokenSecretRef": {"name": "hub"}},
    "gpu": {"class": "t4", "minMemoryGiB": 14},
    "access": {
        "apiKeysSecretRef": {"name": "keys"},
        "networkPolicy": {"from": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    },
    "service": {
        "type": "LoadBalancer",
        "annotations": {"example.com/a": "b"},
        "loadBalancerClass": "example.com/nlb",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
    },
    "disruptionBudget": {"maxUnavailable": "50%"},
    "commonLabels": {"cost-center": "a-1"},
    "commonAnnotations": {"example.com/owner": "speech"},
    "exposure": {
        "ingress": {"className": "contour", "host": "a.example", "path": "/speech", "tls": {"secretName": "tls"}}
    },
    "autoscaling": {
        "minReplicas": 1,
        "maxReplicas": 3,
        "metric": "running",
        "target": 4,
        "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
    },
    "cache": {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": "standard"}},
    "rollout": {"maxSurge": "50%", "maxUnavailable": 0},
    "pod": {
        "imagePullSecrets": [{"name": "pull"}],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "8Gi"}},
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "schedulerName": "default-scheduler",
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["hub.example.com"]}],
        "dnsConfig": {"searches": ["example.com"], "options": [{"name": "ndots", "value": "2"}]},
        "volumes": [{"name": "words", "configMap": {"name": "words", "optional": True}}],
        "volumeMounts": [{"name": "words", "mountPath": "/etc/words", "readOnly": True}],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
        "initContainers": [
            {
                "name": "fetch",
                "image": "fetch:1",
                "command": ["fetch"],
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/work", "subPath": "fetch"}],
                "resources": {"limits": {"memory": "64Mi"}},
            }
        ],
        "sidecars": [
            {"name": "proxy", "image": "proxy:1", "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 5}}
        ],
    },
}
SPECS: dict[str, Document] = {
    "least": {},
    "cpu": {"gpu": {"class": "none"}, "autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80}},
    "full": FULL,
    "image": {"model": {"id": "/models/large"}, "cache": {"image": {"reference": "models:1"}}},
    "gateway": {"exposure": {"gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"], "path": "/x"}}},
}
DEFAULTS: Document = {
    "http_proxy": "http://p",
    "ca_bundle_config_map": "ca",
    "image_pull_secrets": ("pull",),
    "tolerations": ({"key": "sku", "operator": "Exists"},),
    "pod_annotations": {"example.com/a": "b"},
    "env": ({"name": "NODE", "value": "x"},),
}


@pytest.fixture(scope="module")
def other_kinds(cluster: Cluster) -> Iterator[None]:
    """Kinds of the Gateway API and of Prometheus' operator."""
    files = [CRDS / "gateway.networking.k8s.io_httproutes.yaml", CRDS / "monitoring.coreos.com_podmonitors.yaml"]
    chosen = [f"--filename={file}" for file in files]
    cluster.kubectl("apply", "--server-side", *chosen)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *chosen)
    yield
    cluster.kubectl("delete", "--ignore-not-found", *chosen)


def dry_run(cluster: Cluster, children: list[Document]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": children})
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f-", stdin=text)


@pytest.mark.parametrize("name", SPECS)
def test_the_api_server_knows_every_field(cluster: Cluster, other_kinds: None, namespace: str, name: str) -> None:
    children = documents(
        SPECS[name],
        namespace,
        served=SERVED,
        monitoring_namespace="monitoring",
        pod_monitor_labels={"release": "x"},
        defaults=DEFAULTS,
    )
    kinds = {child["kind"] for child in children}
    assert "PodMonitor" in kinds
    assert ("HTTPRoute" in kinds) == (name == "gateway")
    dry_run(cluster, children)


def test_an_unknown_field_is_reported(cluster: Cluster, namespace: str) -> None:
    children = documents({}, namespace)
    (deployment,) = [child for child in children if child["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagine"] = "that"
    with pytest.raises(CommandFailed, match="imagine"):
        dry_run(cluster, children)


@pytest.mark.parametrize("name", SPECS)
def test_restricted_namespaces_let_the_pods_in(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.apply(*documents(SPECS[name], namespace, defaults=DEFAULTS))
    (pod,) = cluster.wait(lambda: pods(cluster, namespace), 30, "there is a pod")
    conditions = cluster.get("deployment", "speech", namespace)["status"].get("conditions", [])
    assert "ReplicaFailure" not in {each["type"] for each in conditions}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not [volume for volume in pod["spec"]["volumes"] if "projected" in volume]


def test_applying_the_same_again_changes_nothing(cluster: Cluster, namespace: str) -> None:
    children = documents(FULL, namespace)
    cluster.apply(*children)
    cluster.wait(lambda: cluster.get("deployment", "speech", namespace)["status"].get("readyReplicas"), 30, "runs")

    def versions() -> dict[str, str]:
        """Of objects that only the operator writes; of a Deployment, its generation."""
        found = {each["kind"]: cluster.get(each["kind"], each["metadata"]["name"], namespace) for each in children}
        quiet = {"Service", "ServiceAccount", "NetworkPolicy", "Ingress"}
        changed = {kind: each["metadata"]["resourceVersion"] for kind, each in found.items() if kind in quiet}
        return changed | {"Deployment": str(found["Deployment"]["metadata"]["generation"])}

    before = versions()
    cluster.apply(*children)
    assert versions() == before
