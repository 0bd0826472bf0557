"""The complete CustomResourceDefinition of WhisperEndpoint. Pure; scripts/generate.py writes it to the chart."""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.resource.rule import with_rules
from whisper_operator.resource.rules import RULES
from whisper_operator.resource.schema import object_schema
from whisper_operator.resource.spec import Spec
from whisper_operator.resource.status import Status

_READY = '.status.conditions[?(@.type=="Ready")]'

_COLUMNS: tuple[dict[str, Any], ...] = (
    {"name": "Ready", "type": "string", "jsonPath": f"{_READY}.status", "description": "Whether requests are served."},
    {"name": "Reason", "type": "string", "jsonPath": f"{_READY}.reason", "description": "Why, in one word."},
    {"name": "Model", "type": "string", "jsonPath": ".spec.model.id", "description": "The model that is served."},
    {"name": "GPU", "type": "string", "jsonPath": ".spec.gpu.class", "description": "Class of the GPUs."},
    {"name": "Replicas", "type": "integer", "jsonPath": ".status.replicas", "description": "Number of pods."},
    {"name": "URL", "type": "string", "jsonPath": ".status.url", "description": "Base URL for OpenAI clients."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {
        "name": "Serving",
        "type": "integer",
        "jsonPath": ".status.readyReplicas",
        "description": "Number of pods that serve requests.",
        "priority": 1,
    },
    {
        "name": "Engine",
        "type": "string",
        "jsonPath": ".status.resolved.engine",
        "description": "What runs the model.",
        "priority": 1,
    },
    {
        "name": "Message",
        "type": "string",
        "jsonPath": f"{_READY}.message",
        "description": "Why, and what to do about it.",
        "priority": 1,
    },
)


def make_crd() -> dict[str, Any]:
    """The complete document."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": ["all", "whisper"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": with_rules(_schema(), RULES)},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.model.id"}, {"jsonPath": ".spec.gpu.class"}],
        "additionalPrinterColumns": list(_COLUMNS),
    }


def _schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A Whisper model served through OpenAI's audio API.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {names.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {names.KIND}."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": object_schema(Spec, "The desired state."),
            "status": object_schema(Status, "The observed state, written by the operator."),
        },
    }
