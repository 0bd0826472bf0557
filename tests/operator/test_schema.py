"""Dataclasses of the spec as OpenAPI schemas: each type, its limits, its default; and what holds of the whole schema."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import pytest

from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.declared import yaml_name
from whisper_operator.resource.embedded import embedded_schema, list_keywords
from whisper_operator.resource.fields import REQUIRED, Document, IntOrPercent, Quantity, spec_field
from whisper_operator.resource.schema import object_schema


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    """A thing.

    Of which there is more to say.
    """

    name: str = spec_field("Its name.", REQUIRED, maxLength=5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaulted:
    """A section with a default of its own."""

    on: bool = spec_field("Whether.", True)  # noqa: FBT003 - a default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything:
    """One field of each type."""

    text: str = spec_field("A text.", REQUIRED, minLength=1, pattern="^a")
    empty: str = spec_field("An empty text.", "")
    count: int = spec_field("A number.", 3, minimum=1, maximum=5)
    big: int | None = spec_field("A large number.", maximum=2**40)
    share: float | None = spec_field("A share.", minimum=0.5)
    colour: Colour = spec_field("A colour.", Colour.RED)
    colours: tuple[Colour, ...] = spec_field("Colours.", (Colour.BLUE,), maxItems=2)
    words: tuple[str, ...] = spec_field("Words.", (), maxItems=3, items={"maxLength": 9})
    size: Quantity | None = spec_field("An amount.")
    pods: IntOrPercent | None = spec_field("Pods.", pattern="%$")
    notes: Mapping[str, str] = spec_field("Notes.", {}, maxProperties=4, values={"maxLength": 7})
    inner: Inner | None = spec_field("Inside.")
    inners: tuple[Inner, ...] = spec_field("All inside.", (), maxItems=8)
    section: Defaulted = spec_field("A section.", Defaulted())
    class_: str | None = spec_field("A keyword of Python.", "x")
    limit_gib: int | None = spec_field("An acronym.", maximum=9)
    peer: Document | None = spec_field("Of Kubernetes.", embedded="io.k8s.api.core.v1.ResourceRequirements")
    env: tuple[Document, ...] = spec_field("Many of Kubernetes.", (), embedded="io.k8s.api.core.v1.EnvVar", maxItems=6)


AMOUNT = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
    "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$",
    "maxLength": 32,
    "minimum": 0,
}
INNER = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "Its name.", "maxLength": 5}},
    "required": ["name"],
}


def test_dataclass_becomes_an_object_schema() -> None:
    assert object_schema(Everything, "All.") == {
        "type": "object",
        "description": "All.",
        "required": ["text"],
        "properties": {
            "text": {"type": "string", "description": "A text.", "minLength": 1, "pattern": "^a"},
            "empty": {"type": "string", "description": "An empty text."},
            "count": {
                "type": "integer",
                "format": "int32",
                "description": "A number.",
                "default": 3,
                "minimum": 1,
                "maximum": 5,
            },
            "big": {"type": "integer", "format": "int64", "description": "A large number.", "maximum": 2**40},
            "share": {"type": "number", "format": "double", "description": "A share.", "minimum": 0.5},
            "colour": {"type": "string", "description": "A colour.", "default": "red", "enum": ["red", "blue"]},
            "colours": {
                "type": "array",
                "description": "Colours.",
                "default": ["blue"],
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "enum": ["red", "blue"]},
            },
            "words": {
                "type": "array",
                "description": "Words.",
                "maxItems": 3,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 9},
            },
            "size": {**AMOUNT, "description": "An amount."},
            "pods": {
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
                "description": "Pods.",
                "pattern": "%$",
                "maxLength": 5,
                "minimum": 0,
            },
            "notes": {
                "type": "object",
                "description": "Notes.",
                "maxProperties": 4,
                "additionalProperties": {"type": "string", "maxLength": 7},
            },
            "inner": {**INNER, "description": "Inside."},
            "inners": {
                "type": "array",
                "description": "All inside.",
                "maxItems": 8,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {**INNER, "description": "A thing."},
            },
            "section": {
                "type": "object",
                "description": "A section.",
                "default": {},
                "properties": {"on": {"type": "boolean", "description": "Whether.", "default": True}},
            },
            "class": {"type": "string", "description": "A keyword of Python.", "default": "x"},
            "limitGiB": {"type": "integer", "format": "int32", "description": "An acronym.", "maximum": 9},
            "peer": {
                **embedded_schema("io.k8s.api.core.v1.ResourceRequirements"),
                "description": "Of Kubernetes.",
            },
            "env": {
                "type": "array",
                "description": "Many of Kubernetes.",
                "maxItems": 6,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": embedded_schema("io.k8s.api.core.v1.EnvVar"),
            },
        },
    }


def test_section_with_its_own_default_is_refused() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd:
        """The API server would fill in `on: true`, and the parser off."""

        section: Defaulted = spec_field("A section.", Defaulted(on=False))

    with pytest.raises(TypeError, match="section"):
        object_schema(Odd, "Odd.")


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("id", "id"),
        ("class_", "class"),
        ("from_", "from"),
        ("kv_cache_dtype", "kvCacheDtype"),
        ("min_memory_gib", "minMemoryGiB"),
        ("api_keys_secret_ref", "apiKeysSecretRef"),
        ("max_upload_bytes", "maxUploadBytes"),
    ],
)
def test_yaml_names_are_camel_case(attribute: str, name: str) -> None:
    assert yaml_name(attribute) == name


def test_kubernetes_types_are_copies_with_our_limits() -> None:
    first = embedded_schema("io.k8s.api.core.v1.EnvVar")
    assert first["properties"]["name"]["maxLength"] == 256
    assert set(first["properties"]["valueFrom"]["properties"]) == {
        "configMapKeyRef",
        "fieldRef",
        "resourceFieldRef",
        "secretKeyRef",
    }
    first["properties"].clear()
    assert embedded_schema("io.k8s.api.core.v1.EnvVar")["properties"]
    assert set(embedded_schema("io.k8s.api.core.v1.ResourceRequirements")["properties"]) == {"limits", "requests"}
    assert list_keywords("io.k8s.api.core.v1.Toleration") == {"x-kubernetes-list-type": "atomic"}


SCHEMA = make_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ALLOWED = {
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
}
"""Neither $ref nor nullable, and nothing that lets unknown fields through."""


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), Mapping):
            yield from nodes(schema[key], path + mark)


EVERY = dict(nodes(SCHEMA))


def test_the_schema_is_closed() -> None:
    assert {path: set(node) - ALLOWED for path, node in EVERY.items() if set(node) - ALLOWED} == {}
    typed = {path for path, node in EVERY.items() if "type" in node or node.get("x-kubernetes-int-or-string")}
    assert set(EVERY) - typed == set()
    open_ones = {
        path
        for path, node in EVERY.items()
        if node.get("type") == "object" and not {"properties", "additionalProperties"} & set(node)
    }
    assert open_ones == set()


def test_every_field_has_a_description() -> None:
    fields = {path for path in EVERY if re.search(r"\.[A-Za-z]+$", path)} - {".metadata", ".metadata.name"}
    assert {path for path in fields if len(EVERY[path].get("description", "")) < 8} == set()
    ours = {path for path in fields if not from_kubernetes(path)}
    assert {path for path in ours if not EVERY[path]["description"].endswith(".")} == set()


def test_every_field_of_ours_is_bounded() -> None:
    ours = {path: node for path, node in EVERY.items() if path.startswith(".spec") and not from_kubernetes(path)}
    kinds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}, "integer": {"maximum"}, "number": {"maximum"}}
    loose = {path for path, node in ours.items() if not (kinds.get(node.get("type", ""), set(node)) & set(node))}
    assert (
        loose
        - {
            ".spec.service.annotations.*",
            ".spec.exposure.ingress.annotations.*",
            ".spec.pod.annotations.*",
            ".spec.commonAnnotations.*",
        }
        == set()
    )
    maps = {path for path, node in ours.items() if "additionalProperties" in node and "maxProperties" not in node}
    assert maps == set()


def test_every_list_declares_how_it_merges() -> None:
    assert {
        path for path, node in EVERY.items() if node.get("type") == "array" and "x-kubernetes-list-type" not in node
    } == set()


def from_kubernetes(path: str) -> bool:
    kinds = (
        "resources",
        "affinity",
        r"tolerations\[\]",
        r"topologySpreadConstraints\[\]",
        r"env\[\]",
        r"from\[\]",
        r"to\[\]",
        r"initContainers\[\]",
        r"sidecars\[\]",
        r"parentRefs\[\]",
        "behavior",
        r"hostAliases\[\]",
        "dnsConfig",
        r"volumes\[\]",
        r"volumeMounts\[\]",
    )
    return re.search(rf"\.({'|'.join(kinds)})(\.|$)", path) is not None
