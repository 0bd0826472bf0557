"""Defects in the manifests of other platforms (by their number in our list), one test each."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.node_affinity import fits_one_of
from whisper_operator import names
from whisper_operator.manifests import make_children
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

Document = dict[str, Any]

SERVED = frozenset({"HTTPRoute", "PodMonitor"})
SPECS: dict[str, Document] = {
    "least": {},
    "cpu": {"gpu": {"class": "none"}},
    "t4": {"gpu": {"class": "t4", "minMemoryGiB": 14}, "model": {"id": "openai/whisper-large-v3"}},
    "shared": {"gpu": {"class": "ada", "shared": True}, "engine": {"gpuMemoryUtilization": 0.4}},
    "all": {
        "gpu": {"class": "ampere"},
        "access": {"apiKeysSecretRef": {"name": "keys"}},
        "exposure": {"ingress": {"host": "a.example", "path": "/speech"}},
        "autoscaling": {"maxReplicas": 3, "metric": "running", "target": 4},
        "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
        "pod": {
            "affinity": {"nodeAffinity": {}},
            "env": [{"name": "A", "value": "b"}],
            "tolerations": [{"operator": "Exists"}],
        },
    },
    "gateway": {
        "exposure": {"gateway": {"parentRefs": [{"name": "edge"}]}},
        "cache": {"image": {"reference": "models:1"}},
    },
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def children(spec: Document, **metadata: Any) -> list[Document]:
    endpoint = parsed_endpoint(spec, **metadata)
    return list(make_children(endpoint, operator_settings(), served_kinds=SERVED, ingress_controller="nginx"))


def deployment(spec: Document, **metadata: Any) -> Document:
    (found,) = [child for child in children(spec, **metadata) if child["kind"] == "Deployment"]
    return found


def pod(spec: Document) -> Document:
    return dict(deployment(spec)["spec"]["template"]["spec"])


def test_10_t4_pod_tolerates_and_selects_gpu_nodes() -> None:
    found = pod(SPECS["t4"])
    assert found["tolerations"]
    assert found["affinity"]["nodeAffinity"]
    assert {"name": "ENGINE", "value": "vllm"} in found["containers"][0]["env"]


def test_11_memory_and_products_are_not_matched_exactly() -> None:
    required = pod(SPECS["t4"])["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = [term["matchExpressions"] for term in required["nodeSelectorTerms"]]
    expressions = [each for term in terms for each in term]
    no_capability = {"key": "nvidia.com/gpu.compute.major", "operator": "DoesNotExist"}
    of_product = [term for term in terms if "nvidia.com/gpu.product" in {each["key"] for each in term}]
    assert all(no_capability in term for term in of_product)
    assert {each["operator"] for each in expressions if each["key"].endswith("memory")} == {"Gt"}


def test_12_toleration_matches_any_taint_value() -> None:
    of_nvidia, of_aks = pod(SPECS["t4"])["tolerations"]
    assert of_nvidia == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert of_aks == {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}


def test_13_labels_are_those_of_gpu_feature_discovery() -> None:
    labels = {
        "nvidia.com/gpu.compute.major": "7",
        "nvidia.com/gpu.compute.minor": "5",
        "nvidia.com/gpu.memory": "15360",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    required = pod(SPECS["t4"])["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert fits_one_of(required["nodeSelectorTerms"], labels)


def test_14_rollout_needs_no_spare_gpu() -> None:
    rolling = deployment(SPECS["t4"])["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}


@every_spec
def test_16_selector_holds_only_the_endpoints_name(spec: Document) -> None:
    found = deployment(spec, labels={"team": "a"})
    assert found["spec"]["selector"] == {"matchLabels": {names.ENDPOINT_LABEL: "speech"}}
    assert found["spec"]["selector"]["matchLabels"].items() <= found["spec"]["template"]["metadata"]["labels"].items()


@every_spec
def test_19_every_selector_selects_the_endpoints_pods(spec: Document) -> None:
    for child in children(spec):
        selector = {
            "PodDisruptionBudget": lambda found: found["spec"]["selector"]["matchLabels"],
            "NetworkPolicy": lambda found: found["spec"]["podSelector"]["matchLabels"],
            "PodMonitor": lambda found: found["spec"]["selector"]["matchLabels"],
            "Service": lambda found: found["spec"]["selector"],
        }.get(child["kind"])
        if selector:
            assert selector(child) == {names.ENDPOINT_LABEL: "speech"}


@every_spec
def test_20_no_pod_shares_the_hosts_namespaces(spec: Document) -> None:
    assert not {"hostIPC", "hostPID", "hostNetwork", "shareProcessNamespace"} & set(pod(spec))
    assert not any("hostPath" in volume for volume in pod(spec)["volumes"])


@every_spec
def test_21_pods_cannot_be_or_become_root(spec: Document) -> None:
    found = pod(spec)
    assert found["securityContext"]["runAsNonRoot"] is True
    assert "runAsUser" not in found["securityContext"]
    (container,) = found["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert found["automountServiceAccountToken"] is False


@every_spec
def test_22_shared_memory_has_a_limit(spec: Document) -> None:
    in_memory = [each["emptyDir"] for each in pod(spec)["volumes"] if each.get("emptyDir", {}).get("medium")]
    assert all("sizeLimit" in volume for volume in in_memory)
    assert bool(in_memory) == (spec.get("gpu", {}).get("class") != "none")


def test_23_changed_setting_restarts_the_pods() -> None:
    before, after = ({"transcription": {"languageForce": code}} for code in ("fa", "de"))
    assert deployment(before)["spec"]["template"] != deployment(after)["spec"]["template"]


@every_spec
def test_23_secret_that_can_change_is_mounted_as_a_folder(spec: Document) -> None:
    found = pod(spec)
    changing = {volume["name"] for volume in found["volumes"] if {"secret", "configMap"} & set(volume)}
    mounts = [mount for mount in found["containers"][0]["volumeMounts"] if mount["name"] in changing]
    assert not any("subPath" in mount for mount in mounts)
    assert bool(changing) == ("apiKeysSecretRef" in spec.get("access", {}))


@every_spec
def test_24_readiness_probe_waits_for_the_model(spec: Document) -> None:
    (container,) = pod(spec)["containers"]
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}


@every_spec
def test_27_endpoints_own_metadata_is_not_copied(spec: Document) -> None:
    noise = {"kopf.zalando.org/last-handled-configuration": "{}", "kubectl.kubernetes.io/last-applied": "{}"}
    labelled = {"argocd.argoproj.io/instance": "x"}
    assert children(spec, annotations=noise, labels=labelled) == children(spec)


def images(document: Any) -> Iterator[str]:
    if isinstance(document, Mapping):
        yield from (
            value for key, value in document.items() if key in ("image", "reference") and isinstance(value, str)
        )
        yield from (image for value in document.values() for image in images(value))
    elif isinstance(document, list):
        yield from (image for value in document for image in images(value))


@every_spec
def test_29_no_image_gets_a_floating_tag(spec: Document) -> None:
    found = set(images(children(spec)))
    assert found
    assert not any(image.endswith(":latest") or ":" not in image.rsplit("/", 1)[-1] for image in found)


@every_spec
def test_make_children_is_pure(spec: Document) -> None:
    endpoint, settings = parsed_endpoint(spec), operator_settings(defaults={"env": ({"name": "X", "value": "y"},)})
    before = copy.deepcopy((endpoint, settings))

    def made(endpoint: Endpoint, settings: Settings) -> list[Document]:
        return list(make_children(endpoint, settings, served_kinds=SERVED, ingress_controller="nginx"))

    first = made(endpoint, settings)
    assert json.dumps(first) == json.dumps(made(*copy.deepcopy((endpoint, settings))))
    scribble(first)
    assert (endpoint, settings) == before
    assert json.dumps(made(endpoint, settings)) == json.dumps(made(*before))


def scribble(document: Any) -> None:
    """Overwrites every mutable value."""
    if isinstance(document, dict):
        for value in document.values():
            scribble(value)
        document["scribbled"] = "over"
    elif isinstance(document, list):
        for value in document:
            scribble(value)
        document.append("scribbled over")


@every_spec
def test_documents_are_plain_json(spec: Document) -> None:
    for child in children(spec):
        assert json.loads(json.dumps(child)) == child
        assert all(type(value) in (str, int, bool, dict, list) for value in values(child))


def values(document: Any) -> Iterator[Any]:
    yield document
    for each in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from values(each)


@every_spec
def test_every_child_has_an_owner_reference(spec: Document) -> None:
    for child in children(spec):
        metadata = child["metadata"]
        assert metadata["namespace"] == "team-a"
        assert names.is_ours(metadata["labels"])
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("WhisperEndpoint", "speech", True)
        assert owner["blockOwnerDeletion"] is False
