"""WhisperEndpoint documents for tests: the least that is valid, with what a test is about on top."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from whisper_operator.names import API_VERSION, KIND
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.resource.spec import Endpoint

Document = dict[str, Any]

UID = "7a0f8c3e-0000-4000-8000-000000000001"
CREATED_AT = "2026-01-02T03:04:05Z"


def make_endpoint(
    spec: Mapping[str, Any] | None = None, /, *, name: str = "speech", namespace: str = "team-a", **metadata: Any
) -> Document:
    """As one writes it: `spec` is merged over a spec that holds the demo model only; null removes a field.

    make_endpoint({"gpu": {"class": "t4"}}, name="fast", labels={"team": "a"})
    """
    named = {"name": name, "namespace": namespace, **metadata}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": named,
        "spec": merged({"model": {"id": "demo"}}, spec or {}),
    }


def make_stored_endpoint(spec: Mapping[str, Any] | None = None, /, *, generation: int = 1, **metadata: Any) -> Document:
    """As the API server has it: with uid, generation and time of creation. Defaults are not filled in."""
    served = {"uid": UID, "generation": generation, "creationTimestamp": CREATED_AT, "resourceVersion": "1"}
    return make_endpoint(spec, **{**served, **metadata})


def parsed_endpoint(spec: Mapping[str, Any] | None = None, /, **metadata: Any) -> Endpoint:
    """The same, as the operator sees it."""
    return parse_endpoint(make_stored_endpoint(spec, **metadata))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """A copy of `base` with `over` merged in: maps field by field, all else replaced; None removes (JSON merge patch)."""
    result: Document = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            there = result.get(key)
            result[key] = merged(there if isinstance(there, Mapping) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
