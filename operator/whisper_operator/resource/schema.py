"""The OpenAPI schema of a dataclass of the resource: structural, closed, a description on every field. Pure.

Types and limits come from the declarations, embedded Kubernetes types from `embedded`, rules from `rules`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from whisper_operator.resource.declared import Declared, declared_fields, is_section
from whisper_operator.resource.embedded import embedded_schema, list_keywords
from whisper_operator.resource.fields import QUANTITY, Quantity

INT32_MAX = 2_147_483_647
_SCALARS: Mapping[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    float: {"type": "number", "format": "double"},
    str: {"type": "string"},
    Quantity: {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, **QUANTITY},
    typing.Union[int, str]: {  # noqa: UP007 - equal to what `declared` makes
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "maxLength": 5,
        "minimum": 0,
    },
}


def object_schema(cls: type, description: str) -> dict[str, Any]:
    """A dataclass as an object."""
    fields = declared_fields(cls)
    required = [field.name for field in fields if field.required]
    return {
        "type": "object",
        "description": description,
        "properties": {field.name: field_schema(field) for field in fields},
        **({"required": required} if required else {}),
    }


def field_schema(field: Declared) -> dict[str, Any]:
    """One field, with the default that the API server fills in."""
    schema = {**_type_schema(field.type, field), "description": field.description}
    default = written_default(field)
    return schema if default is None else {**schema, "default": default}


def written_default(field: Declared) -> Any:
    """The default in the CRD. None: the API server fills in nothing; an empty value counts as absent."""
    if field.required or field.default is None:
        return None
    if is_section(field.type):
        if field.default != field.type():
            raise TypeError(f"{field.name}: a section's default must be the defaults of its fields")
        return {}
    if isinstance(field.default, Enum):
        return field.default.value
    if isinstance(field.default, tuple):
        return [getattr(item, "value", item) for item in field.default] or None
    return None if field.default in ("", {}) else field.default


def _type_schema(type_: Any, field: Declared) -> dict[str, Any]:
    limits = field.limits
    if typing.get_origin(type_) is tuple:
        return _array_schema(typing.get_args(type_)[0], field)
    if is_section(type_):
        return object_schema(type_, field.description) | limits
    if field.embedded:
        return embedded_schema(field.embedded) | limits
    return _plain_schema(type_, limits)


def _plain_schema(type_: Any, limits: dict[str, Any]) -> dict[str, Any]:
    if typing.get_origin(type_) is Mapping:
        values = {"type": "string", **limits.get("values", {})}
        return {"type": "object", "additionalProperties": values, **_without(limits, "values")}
    if type_ is int:
        return {"type": "integer", "format": "int32" if limits.get("maximum", 0) <= INT32_MAX else "int64", **limits}
    if isinstance(type_, type) and issubclass(type_, Enum):
        return {"type": "string", "enum": [member.value for member in type_], **limits}
    return {**_SCALARS[type_], **limits}


def _array_schema(item: Any, field: Declared) -> dict[str, Any]:
    of_items = dataclasses.replace(field, limits=field.limits.get("items", {}))
    items = _type_schema(item, of_items)
    keywords = list_keywords(field.embedded) if field.embedded else {"x-kubernetes-list-type": "set"}
    if is_section(item):
        keywords = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [declared_fields(item)[0].name]}
        items["description"] = _first_line(item)
    return {"type": "array", "items": items, **keywords, **_without(field.limits, "items")}


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _without(limits: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if name != key}
