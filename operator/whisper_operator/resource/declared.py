"""Reads the declarations of the spec's dataclasses, from which schema, parser and documentation are derived.

Only this module derives a field's name in YAML. Pure.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

_ACRONYMS = {"gib": "GiB"}
"""Words of names with their own capitalization."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declared:
    """One field of a dataclass, as `fields.spec_field` declared it."""

    attribute: str
    """In Python: class_, min_memory_gib."""
    name: str
    """In YAML: class, minMemoryGiB."""
    type: Any
    """The type without None."""
    optional: bool
    """Whether it is None in Python if it is absent in YAML."""
    default: Any
    """dataclasses.MISSING: the field is required."""
    description: str
    embedded: str
    limits: dict[str, Any]

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


@functools.cache
def declared_fields(cls: type) -> tuple[Declared, ...]:
    """The fields of a dataclass of the spec, in order."""
    hints = typing.get_type_hints(cls)
    return tuple(_declared(field, hints[field.name]) for field in dataclasses.fields(cls))


def is_section(type_: Any) -> bool:
    """Whether a type is a dataclass of the spec: an object in YAML."""
    return isinstance(type_, type) and dataclasses.is_dataclass(type_)


def yaml_name(attribute: str) -> str:
    """class_ → class, kv_cache_dtype → kvCacheDtype, min_memory_gib → minMemoryGiB."""
    first, *others = attribute.rstrip("_").split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in others)


def _declared(field: dataclasses.Field[Any], hint: Any) -> Declared:
    inner, optional = _without_none(hint)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return Declared(
        attribute=field.name,
        name=yaml_name(field.name),
        type=inner,
        optional=optional,
        default=default,
        description=field.metadata["description"],
        embedded=field.metadata["embedded"],
        limits=field.metadata["limits"],
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) not in {typing.Union, types.UnionType} or types.NoneType not in arguments:
        return hint, False
    others = tuple(argument for argument in arguments if argument is not types.NoneType)
    return typing.Union[others], True  # noqa: UP007 - built at run time
