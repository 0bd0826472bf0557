"""Kubernetes' own types inside of a WhisperEndpoint: what `embedded.json` holds, with limits of ours.

The file is written by scripts/embedded_types.py from a real API server. The limits bound the cost of CEL rules, and say
early what the API server would say of the pod later. Pure, but for reading the file once.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from whisper_operator.resource.fields import LABEL_VALUE, QUANTITY

_KEY = {"maxLength": 317}

_LIMITS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "io.k8s.api.core.v1.EnvVar": {
        "name": {"minLength": 1, "maxLength": 256, "pattern": r"^[!-<>-~]+$"},
        "value": {"maxLength": 32_768},
    },
    "io.k8s.api.core.v1.Toleration": {
        "key": _KEY,
        "value": LABEL_VALUE,
        "operator": {"enum": ["Equal", "Exists"]},
    },
    "io.k8s.api.core.v1.ResourceRequirements": {
        "limits": {"maxProperties": 16},
        "limits.*": QUANTITY,
        "requests": {"maxProperties": 16},
        "requests.*": QUANTITY,
    },
    "io.k8s.api.core.v1.TopologySpreadConstraint": {
        "maxSkew": {"minimum": 1},
        "minDomains": {"minimum": 1},
        "topologyKey": {"minLength": 1, **_KEY},
    },
    "io.k8s.api.networking.v1.NetworkPolicyPeer": {
        "ipBlock.cidr": {"minLength": 1, "maxLength": 64},
        "ipBlock.except": {"maxItems": 64},
    },
}
"""Type → field (dots for fields of fields, * for the values of a map) → keywords of its schema."""

_LISTS: Mapping[str, Mapping[str, Any]] = {
    "io.k8s.api.core.v1.EnvVar": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    "io.k8s.api.core.v1.TopologySpreadConstraint": {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
    },
}
"""How lists of a type merge, as in a PodSpec. All others are one piece: who applies one owns all of it."""


def embedded_schema(type_name: str) -> dict[str, Any]:
    """The schema of a type, without its own description: that of the field says more."""
    schema: dict[str, Any] = copy.deepcopy(_types()[type_name])
    for path, limits in _LIMITS.get(type_name, {}).items():
        _at(schema, path).update(limits)
    return schema


def list_keywords(type_name: str) -> dict[str, Any]:
    """How several field managers share a list of this type."""
    return dict(_LISTS.get(type_name, {"x-kubernetes-list-type": "atomic"}))


def _at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("."):
        schema = schema["additionalProperties"] if name == "*" else schema["properties"][name]
    return schema


@functools.cache
def _types() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("embedded.json").read_text()
    types: dict[str, Any] = json.loads(text)
    return types
