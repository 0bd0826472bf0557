"""Schemas of Kubernetes' own types inside a WhisperEndpoint: `embedded.json` plus our limits.

scripts/embedded_types.py writes the file from a real API server. The limits bound the cost of CEL rules, and refuse early
what the API server would refuse in the pod later. Pure, except that the file is read once.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from whisper_operator.resource.fields import IMAGE, LABEL_KEY, LABEL_VALUE, NAMESPACE, NETWORK, OBJECT_NAME, QUANTITY

_ADDRESS = {"minLength": 2, "maxLength": 45, "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$|^[0-9a-fA-F]*:[0-9a-fA-F:.]*$"}
_VOLUME_NAME = {"minLength": 1, "maxLength": 63, "pattern": NAMESPACE["pattern"]}
_NAMED_KEY = ["name", "key"]

_LIMITS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "io.k8s.api.core.v1.EnvVar": {
        "name": {"minLength": 1, "maxLength": 256, "pattern": r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"},
        "value": {"maxLength": 32_768},
        "valueFrom.secretKeyRef": {"required": _NAMED_KEY},
        "valueFrom.secretKeyRef.name": OBJECT_NAME,
        "valueFrom.resourceFieldRef.resource": {
            "enum": [
                f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
            ]
        },
        "valueFrom.configMapKeyRef": {"required": _NAMED_KEY},
        "valueFrom.configMapKeyRef.name": OBJECT_NAME,
    },
    "io.k8s.api.core.v1.Toleration": {
        "key": {"maxLength": 317, "pattern": f"^({LABEL_KEY['pattern'].strip('^$')})?$"},
        "value": LABEL_VALUE,
        "operator": {"enum": ["Equal", "Exists"]},
    },
    "io.k8s.api.core.v1.ResourceRequirements": {
        "limits": {"maxProperties": 16},
        "limits.*": QUANTITY,
        "requests": {"maxProperties": 16},
        "requests.*": QUANTITY,
    },
    "io.k8s.api.core.v1.TopologySpreadConstraint": {"maxSkew": {"minimum": 1}, "minDomains": {"minimum": 1}},
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior": {
        f"{way}.{name}": limits
        for way in ("scaleUp", "scaleDown")
        for name, limits in (
            ("stabilizationWindowSeconds", {"minimum": 0, "maximum": 3600}),
            ("selectPolicy", {"enum": ["Max", "Min", "Disabled"]}),
            ("policies", {"minItems": 1, "maxItems": 8}),
            ("policies[].type", {"enum": ["Pods", "Percent"]}),
            ("policies[].value", {"minimum": 1}),
            ("policies[].periodSeconds", {"minimum": 1, "maximum": 1800}),
        )
    },
    "io.k8s.api.core.v1.HostAlias": {"ip": _ADDRESS, "hostnames": {"minItems": 1}, "hostnames[]": OBJECT_NAME},
    "io.k8s.api.core.v1.PodDNSConfig": {
        "nameservers": {"maxItems": 3},
        "nameservers[]": _ADDRESS,
        "searches[]": {"minLength": 1, "maxLength": 253, "pattern": r"^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?\.?$"},
        "options[].name": {"minLength": 1, "maxLength": 63},
        "options[].value": {"maxLength": 63},
    },
    "io.k8s.api.core.v1.Volume": {
        "name": _VOLUME_NAME,
        "configMap": {"required": ["name"]},
        "configMap.name": OBJECT_NAME,
        "secret": {"required": ["secretName"]},
        "secret.secretName": OBJECT_NAME,
        "persistentVolumeClaim.claimName": OBJECT_NAME,
        "emptyDir.medium": {"enum": ["", "Memory"]},
        "emptyDir.sizeLimit": QUANTITY,
    },
    "io.k8s.api.core.v1.VolumeMount": {
        "name": _VOLUME_NAME,
        "mountPath": {"minLength": 2, "maxLength": 512, "pattern": r"^(/[^/:.\s][^/:\s]*|/\.[^/:.\s][^/:\s]*)+$"},
        "subPath": {"maxLength": 512, "pattern": r"^([^/.\s][^/\s]*(/[^/.\s][^/\s]*)*)?$"},
    },
    "io.k8s.api.networking.v1.NetworkPolicyPeer": {"ipBlock.cidr": NETWORK, "ipBlock.except[]": NETWORK},
    "io.k8s.api.core.v1.Affinity": {
        "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms": {"minItems": 1}
    },
    "io.k8s.api.core.v1.Container": {
        "name": _VOLUME_NAME,
        "image": IMAGE,
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "volumeMounts": {"maxItems": 8},
        **{
            f"{name}.{field}": limits
            for name in ("startupProbe", "readinessProbe", "livenessProbe")
            for field, limits in (
                ("periodSeconds", {"minimum": 1, "maximum": 3600}),
                ("timeoutSeconds", {"minimum": 1, "maximum": 3600}),
                ("failureThreshold", {"minimum": 1}),
                ("initialDelaySeconds", {"minimum": 0}),
                ("successThreshold", {"minimum": 1} if name == "readinessProbe" else {"minimum": 1, "maximum": 1}),
                ("exec.command", {"minItems": 1}),
                ("grpc.port", {"minimum": 1, "maximum": 65_535}),
            )
        },
    },
}
"""Type → field (dots for fields of fields, * for the values of a map, [] for items) → keywords of its schema."""

_INSIDE: Mapping[str, Mapping[str, str]] = {
    "io.k8s.api.core.v1.Container": {
        "env[]": "io.k8s.api.core.v1.EnvVar",
        "volumeMounts[]": "io.k8s.api.core.v1.VolumeMount",
        "resources": "io.k8s.api.core.v1.ResourceRequirements",
    }
}
"""Type → field → the type whose limits hold there, too."""

_ANYWHERE: Mapping[str, Mapping[str, Any]] = {
    "topologyKey": {"minLength": 1, **LABEL_KEY},
    "matchLabelKeys": {"items": {"type": "string", "minLength": 1, **LABEL_KEY}},
    "mismatchLabelKeys": {"items": {"type": "string", "minLength": 1, **LABEL_KEY}},
    "namespaces": {"items": {"type": "string", **NAMESPACE}},
    "weight": {"minimum": 1, "maximum": 100},
    "matchLabels": {"maxProperties": 32, "additionalProperties": {"type": "string", **LABEL_VALUE}},
}
"""Fields that have the same limits in every type."""
_FIELD: Mapping[str, Mapping[str, Any]] = {
    "key": {"enum": ["metadata.name"]},
    "operator": {"enum": ["In", "NotIn"]},
    "values": {"maxItems": 1, "items": {"type": "string", **OBJECT_NAME}},
}
"""Limits of the items of `matchFields`."""
_REQUIREMENT: Mapping[str, Mapping[str, Any]] = {
    "key": {"minLength": 1, **LABEL_KEY},
    "values": {"items": {"type": "string", **LABEL_VALUE}},
}
"""Limits of label selector requirements."""
_LABEL_OPERATORS = {"enum": ["DoesNotExist", "Exists", "In", "NotIn"]}
_MAX_ITEMS = 32

_LISTS: Mapping[str, Mapping[str, Any]] = {
    "io.k8s.api.core.v1.Container": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    "io.k8s.api.core.v1.EnvVar": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    "io.k8s.api.core.v1.HostAlias": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["ip"]},
    "io.k8s.api.core.v1.Volume": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    "io.k8s.api.core.v1.VolumeMount": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"]},
    "io.k8s.api.core.v1.TopologySpreadConstraint": {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
    },
}
"""How lists of a type merge, as in a PodSpec. All other lists are atomic: one field manager owns the whole list."""


def embedded_schema(type_name: str) -> dict[str, Any]:
    """The schema of a type, without its own description, because the field has a better one."""
    schema: dict[str, Any] = copy.deepcopy(_types()[type_name])
    _bound(schema)
    for path, limits in _LIMITS.get(type_name, {}).items():
        _at(schema, path).update(limits)
    for at, inner in _INSIDE.get(type_name, {}).items():
        for path, limits in _LIMITS[inner].items():
            _at(schema, f"{at}.{path}").update(limits)
    return schema


def requirement_paths(type_name: str) -> tuple[str, ...]:
    """Paths in a type where labels or fields are compared with values: dots for fields of fields, [] for items."""
    return tuple(_requirements(_types()[type_name], ""))


def list_keywords(type_name: str) -> dict[str, Any]:
    """How several field managers share a list of this type."""
    return dict(_LISTS.get(type_name, {"x-kubernetes-list-type": "atomic"}))


def _bound(schema: dict[str, Any]) -> None:
    """Limits that do not depend on the type."""
    if schema.get("type") == "array":
        schema.setdefault("maxItems", _MAX_ITEMS)
    properties = schema.get("properties", {})
    if _is_requirement(schema):
        for name, limits in _REQUIREMENT.items():
            properties[name].update(limits)
        properties["operator"].setdefault("enum", _LABEL_OPERATORS["enum"])
    for name in _ANYWHERE.keys() & properties.keys():
        properties[name].update(_ANYWHERE[name])
    for name, limits in _FIELD.items() if "matchFields" in properties else ():
        properties["matchFields"]["items"]["properties"][name].update(limits)
    for inner in (*properties.values(), *([schema["items"]] if "items" in schema else [])):
        _bound(inner)


def _requirements(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if _is_requirement(schema):
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from _requirements(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _requirements(schema["items"], f"{path}[]")


def _is_requirement(schema: Mapping[str, Any]) -> bool:
    return {"key", "operator", "values"} <= set(schema.get("properties", {}))


def _at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.replace("[]", ".[]").split("."):
        if name == "[]":
            schema = schema["items"]
        else:
            schema = schema["additionalProperties"] if name == "*" else schema["properties"][name]
    return schema


@functools.cache
def _types() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("embedded.json").read_text()
    types: dict[str, Any] = json.loads(text)
    return types
