"""What a reconciliation depends on: if it is unchanged, there is nothing to do. Data, and functions that derive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisper_operator.errors import SpecError
from whisper_operator.reconcile.cached_reader import LookupResults
from whisper_operator.resource.fields import Document
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.resource.spec import Endpoint

NO_RESULTS = LookupResults({}, None, None, {}, None)
NO_CLASS: Document = {"metadata": {"name": ""}, "spec": {}}


@dataclass(frozen=True)
class Inputs:
    """Everything that a reconciliation depends on."""

    changes: int
    lookups: LookupResults
    route_owner: str
    image_verdict: tuple[bool, str]
    served_kinds: frozenset[str]


def parsed(document: Document) -> tuple[Endpoint | None, SpecError | None]:
    """The endpoint, or why its spec cannot be applied."""
    try:
        return parse_endpoint(document), None
    except SpecError as error:
        return None, error


def relevant_fields(document: Document) -> tuple[object, ...]:
    """The fields of the endpoint that a reconciliation depends on."""
    metadata = document["metadata"]
    return tuple(metadata.get(name) for name in ("generation", "labels", "annotations", "deletionTimestamp"))


def truth_of(status: Mapping[str, object], type_: str) -> str:
    """True, False, Unknown, or empty without this condition."""
    conditions = status.get("conditions")
    found = conditions if isinstance(conditions, list) else []
    return next((str(one.get("status", "")) for one in found if one.get("type") == type_), "")
