"""The CustomResourceDefinition around the schema."""

from __future__ import annotations

from typing import Any

from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.declared import declared_fields
from whisper_operator.resource.spec import Spec
from whisper_operator.resource.status import Status

CRD = make_crd()
(VERSION,) = CRD["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def test_crd_has_these_names() -> None:
    assert {key: value for key, value in CRD.items() if key != "spec"} == {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "whisperendpoints.whisper-operator.io"},
    }
    assert {key: value for key, value in CRD["spec"].items() if key != "versions"} == {
        "group": "whisper-operator.io",
        "scope": "Namespaced",
        "names": {
            "kind": "WhisperEndpoint",
            "listKind": "WhisperEndpointList",
            "plural": "whisperendpoints",
            "singular": "whisperendpoint",
            "shortNames": ["wep"],
            "categories": ["all", "whisper"],
        },
    }


def test_crd_has_one_version() -> None:
    assert {key: value for key, value in VERSION.items() if key not in {"schema", "additionalPrinterColumns"}} == {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.model.id"}, {"jsonPath": ".spec.gpu.class"}],
    }


def test_crd_has_these_columns() -> None:
    columns = VERSION["additionalPrinterColumns"]
    always = [column["name"] for column in columns if not column.get("priority")]
    assert always == ["Ready", "Reason", "Model", "GPU", "Replicas", "URL", "Age"]
    for column in columns:
        assert column["jsonPath"].startswith((".status.conditions[?(@.type==", ".metadata.")) or at(column["jsonPath"])


def at(path: str) -> dict[str, Any]:
    node: dict[str, Any] = SCHEMA
    for name in path.strip(".").split("."):
        node = node["properties"][name]
    return node


def test_crd_schema_has_spec_and_status() -> None:
    assert SCHEMA["required"] == ["spec"]
    assert list(SCHEMA["properties"]) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert list(at("spec")["properties"]) == [field.name for field in declared_fields(Spec)]
    assert list(at("status")["properties"]) == [field.name for field in declared_fields(Status)]
    assert at("spec")["required"] == ["model"]


def test_conditions_merge_by_type() -> None:
    conditions = at("status.conditions")
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["required"] == ["type", "status", "reason", "message", "lastTransitionTime"]


def test_each_call_makes_a_new_document() -> None:
    make_crd()["spec"].clear()
    assert make_crd() == CRD
