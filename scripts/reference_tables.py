"""Tables of docs/whisperendpoint.md, made from the code: fields, status, rules, variables, reasons. Pure."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.declared import Declared, declared_fields, is_section
from whisper_operator.resource.fields import Quantity
from whisper_operator.resource.reserved import RESERVED_ENV
from whisper_operator.resource.rules import RULES
from whisper_operator.resource.schema import written_default
from whisper_operator.resource.spec import Spec
from whisper_operator.resource.status import Status
from whisper_operator.status.reasons import REASONS

API_REFERENCE = "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.35/#{}-{}-{}"
PARENT_REFERENCE = "https://gateway-api.sigs.k8s.io/reference/spec/#parentreference"
WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Quantity: "amount, such as `20Gi`",
    typing.Union[int, str]: "number, or share such as `25%`",  # noqa: UP007 - equal to what `declared` makes
}
MOST_WORDS = 12
"""Of an enum; a longer one is only named."""
MOST_PATHS = 6
"""Of fields that have the same rule."""


def tables() -> dict[str, str]:
    """Name of a part of the page → its text."""
    return {
        "fields": fields_text(),
        "status": table(("Field", "Type", "Meaning"), _status_rows(Status, "status")),
        "rules": table(("Field", "What the API server says"), _rule_rows()),
        "variables": table(("Variable", "Write instead"), _variable_rows()),
        "reasons": table(("Reason", "Meaning"), ((f"`{name}`", text) for name, text in REASONS.items())),
        "columns": table(("Column", "Meaning"), _column_rows()),
    }


def fields_text() -> str:
    """A table for each section of the spec; fields without a section come first."""
    plain = [field for field in declared_fields(Spec) if not is_section(field.type)]
    parts = [table(("Field", "Type", "Default", "Meaning"), (_field_row(field, "") for field in plain))]
    for field in declared_fields(Spec):
        if is_section(field.type):
            rows = table(("Field", "Type", "Default", "Meaning"), _section_rows(field.type, field.name))
            parts.append(f"### {field.name}\n\n{field.description}\n\n{rows}")
    return "\n\n".join(parts)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (heads, *rows)]
    return "\n".join((lines[0], "|" + "---|" * len(heads), *lines[1:]))


def type_text(field: Declared) -> str:
    """What may be written, for people."""
    if typing.get_origin(field.type) is tuple:
        item = dataclasses.replace(
            field, type=typing.get_args(field.type)[0], limits=dict(field.limits.get("items", {}))
        )
        return f"list of {_type_text(item, many=True)}, at most {field.limits['maxItems']}"
    return _type_text(field)


def _type_text(field: Declared, *, many: bool = False) -> str:
    if field.embedded:
        return _kubernetes(field.embedded)
    if is_section(field.type):
        return "objects" if many else "object"
    if typing.get_origin(field.type) is Mapping:
        return "map of texts"
    words = _words(field)
    if words:
        return ", ".join(f"`{word}`" for word in words) if len(words) <= MOST_WORDS else f"one of {len(words)} codes"
    if many and field.type is str:
        return "texts"
    return WORDS[field.type] + _range(field.limits)


def _words(field: Declared) -> list[str]:
    """Those of an enum."""
    if isinstance(field.type, type) and issubclass(field.type, Enum):
        return [str(member.value) for member in field.type]
    return [word for word in field.limits.get("enum", ()) if word]


def _range(limits: Mapping[str, Any]) -> str:
    low, high = limits.get("minimum"), limits.get("maximum")
    if low is None or high is None or high >= 2**53:
        return ""
    return f", {low} to {high}"


def _kubernetes(name: str) -> str:
    if name == "gateway.ParentReference":
        return f"[ParentReference]({PARENT_REFERENCE})"
    *_, group, version, kind = name.split(".")
    groups = {"core": "core", "networking": "networking-k8s-io", "autoscaling": "autoscaling"}
    return f"Kubernetes’ [{kind}]({API_REFERENCE.format(kind.lower(), version, groups[group])})"


def _section_rows(cls: type, path: str) -> Iterator[tuple[str, ...]]:
    for field in declared_fields(cls):
        yield _field_row(field, f"{path}.")
        inner = typing.get_args(field.type)[0] if typing.get_origin(field.type) is tuple else field.type
        if is_section(inner):
            yield from _section_rows(inner, f"{path}.{field.name}{'' if inner is field.type else '[]'}")


def _field_row(field: Declared, prefix: str) -> tuple[str, str, str, str]:
    return f"`{prefix}{field.name}`", type_text(field), _default_text(field), field.description


def _default_text(field: Declared) -> str:
    if field.required:
        return "**required**"
    default = written_default(field)
    if default is None or default == {}:
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`".replace("'", "")


def _status_rows(cls: type, path: str) -> Iterator[tuple[str, str, str]]:
    for name, kind, _, text in _section_rows(cls, path):
        yield name, kind, text


def _rule_rows() -> Iterator[tuple[str, str]]:
    """Rules that say the same of several fields are one row."""
    fields: dict[str, dict[str, None]] = {}
    for rule in RULES:
        path = ".".join(part for part in (rule.at, rule.field) if part)
        fields.setdefault(rule.message, {})[path] = None
    for message, paths in fields.items():
        shown, more = (list(paths), []) if len(paths) <= MOST_PATHS else (list(paths)[:1], ["and the like"])
        yield "<br>".join([*(f"`{path}`" for path in shown), *more]), message


def _variable_rows() -> Iterator[tuple[str, str]]:
    for name, fields in RESERVED_ENV.items():
        instead = " or ".join(f"`{field}`" for field in fields.split(" or ")) if fields else ""
        yield f"`{name}`", instead or "– (the pods are laid out by it)"


def _column_rows() -> Iterator[tuple[str, str]]:
    for column in make_crd()["spec"]["versions"][0]["additionalPrinterColumns"]:
        wide = " (`-o wide`)" if column.get("priority") else ""
        yield column["name"] + wide, column.get("description", "Time since it was created.")
