"""Parses a WhisperEndpoint document into an `Endpoint`, with the defaults of the CRD. Pure.

The API server has validated it, but maybe with an older or newer CRD: unknown fields are ignored, and a value that this
version does not understand is a SpecError that names the field. Only the CRD checks limits.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from whisper_operator.errors import SpecError
from whisper_operator.resource.declared import Declared, declared_fields, is_section
from whisper_operator.resource.fields import Document, Quantity
from whisper_operator.resource.spec import Endpoint, Spec

_SCALARS: Mapping[Any, tuple[tuple[type, ...], Callable[[Any], Any], str]] = {
    bool: ((bool,), bool, "true or false"),
    int: ((int,), int, "a whole number"),
    float: ((int, float), float, "a number"),
    str: ((str,), str, "a text"),
    Quantity: ((int, float, str), str, "an amount such as 20Gi"),
    typing.Union[int, str]: ((int, str), lambda value: value, "a number, or a share such as 25%"),  # noqa: UP007
}
"""Type → accepted JSON types, conversion, and its name in messages."""


def parse_endpoint(document: Document) -> Endpoint:
    """Parses the whole document. Raises SpecError."""
    metadata = document["metadata"]
    return Endpoint(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        created_at=metadata.get("creationTimestamp", ""),
        spec=parse_spec(document.get("spec")),
        labels=metadata.get("labels") or {},
    )


def parse_spec(document: Any) -> Spec:
    """A spec with its defaults filled in. Raises SpecError."""
    spec = _section(Spec, {} if document is None else document, "")
    assert isinstance(spec, Spec)
    _check_alternatives(spec)
    return spec


def _section(cls: type, value: Any, path: str) -> Any:
    written = _mapping(value, path)
    values: dict[str, Any] = {}
    for field in declared_fields(cls):
        there = written.get(field.name)
        where = f"{path}.{field.name}" if path else field.name
        if there is not None:  # null counts as absent, as for the API server
            values[field.attribute] = _value(field.type, field, there, where)
        elif field.required:
            raise SpecError(where, "must be written")
    return cls(**values)


def _value(type_: Any, field: Declared, value: Any, path: str) -> Any:
    if is_section(type_):
        return _section(type_, value, path)
    origin = typing.get_origin(type_)
    if origin is tuple:
        (item, _) = typing.get_args(type_)
        return tuple(_value(item, field, one, f"{path}[{n}]") for n, one in enumerate(_list(value, path)))
    if origin is Mapping:
        parse = functools.partial(_value, typing.get_args(type_)[1], field)
        return {key: parse(one, f"{path}[{key}]") for key, one in _mapping(value, path).items()}
    if type_ is Any:
        return value
    if isinstance(type_, type) and issubclass(type_, Enum):
        return _choice(type_, value, path)
    return _scalar(type_, value, path)


def _scalar(type_: Any, value: Any, path: str) -> Any:
    accepted, make, name = _SCALARS[type_]
    if isinstance(value, bool) != (type_ is bool) or not isinstance(value, accepted):
        raise SpecError(path, f"is {value!r}: write {name}")
    return make(value)


def _choice(type_: type[Enum], value: Any, path: str) -> Enum:
    try:
        return type_(value)
    except ValueError:
        words = ", ".join(str(member.value) for member in type_)
        raise SpecError(
            path, f"is {value!r}, which this version of the operator does not know: write one of {words}"
        ) from None


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(path, f"is {value!r}: write an object")
    return value


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise SpecError(path, f"is {value!r}: write a list")
    return value


def _check_alternatives(spec: Spec) -> None:
    """Checks that exactly one alternative of each union is set, because later code relies on it."""
    unions: tuple[tuple[str, Any], ...] = (("cache", spec.cache), ("exposure", spec.exposure))
    for path, section in unions:
        if section is None:
            continue
        fields = [field for field in declared_fields(section.__class__) if field.default is None]
        written = [field.name for field in fields if getattr(section, field.attribute) is not None]
        if len(written) != 1:
            names = ", ".join(field.name for field in fields)
            raise SpecError(path, f"holds {' and '.join(written) or 'nothing'}: write exactly one of {names}")
