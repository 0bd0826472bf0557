"""Values that a schema must refuse, derived from the schema: one of another type, one beyond each limit. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

WRONG_TYPE: Mapping[str, Any] = {
    "integer": "many",
    "number": "much",
    "boolean": "yes",
    "string": 7,
    "array": "one",
    "object": "one",
}


@dataclasses.dataclass(frozen=True)
class BadValue:
    """A document with one value that must be refused."""

    path: str
    """As errors of the API server write it: spec.pod.env[0].name."""
    why: str
    document: Any


def bad_values(schema: Schema, path: str) -> Iterator[BadValue]:
    """For a schema and all schemas in it."""
    for why, value in _of_this(schema):
        yield BadValue(path, why, value)
    if "items" in schema:
        for bad in bad_values(schema["items"], f"{path}[0]"):
            yield dataclasses.replace(bad, document=[bad.document])
    if isinstance(schema.get("additionalProperties"), Mapping):
        for bad in bad_values(schema["additionalProperties"], f"{path}.key"):
            yield dataclasses.replace(bad, document={"key": bad.document})
    for name, inner in schema.get("properties", {}).items():
        for bad in bad_values(inner, f"{path}.{name}"):
            yield dataclasses.replace(bad, document={name: bad.document})


def good_value(schema: Schema) -> Any:
    """Some value of the schema's type that breaks none of its limits on types and fields."""
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {name: good_value(schema["properties"][name]) for name in schema.get("required", ())}
    kind = schema.get("type", "string")
    return {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}, "string": "a"}[kind]


def _of_this(schema: Schema) -> Iterator[tuple[str, Any]]:
    yield "type", True if schema.get("x-kubernetes-int-or-string") else WRONG_TYPE[schema["type"]]
    for keyword, bad in _BEYOND.items():
        if keyword in schema:
            yield keyword, bad(schema)
    if schema.get("x-kubernetes-list-type") in {"set", "map"}:
        yield "duplicate", [good_value(schema["items"])] * 2
    for name in schema.get("required", ()):
        yield f"required {name}", {}


_BEYOND: Mapping[str, Callable[[Schema], Any]] = {
    "enum": lambda schema: "nonsense",
    "pattern": lambda schema: " ",
    "minLength": lambda schema: "",
    "maxLength": lambda schema: "a" * (schema["maxLength"] + 1),
    "minimum": lambda schema: schema["minimum"] - 1,
    "maximum": lambda schema: schema["maximum"] + 1,
    "minItems": lambda schema: [],
    "maxItems": lambda schema: [good_value(schema["items"])] * (schema["maxItems"] + 1),
    "maxProperties": lambda schema: dict.fromkeys(map(str, range(schema["maxProperties"] + 1)), "a"),
}
"""Keyword → a value that breaks it."""
