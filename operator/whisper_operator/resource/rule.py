"""A CEL rule between fields, and a function that adds rules to a schema. Pure; the rules are in `rules`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: `x-kubernetes-validations` has the same fields."""

    at: str
    """Path of the object that holds the rule; [] are the items of a list, empty is the whole document."""
    field: str = ""
    """The field that the error names, relative to `at`. Empty: `at` itself."""
    rule: str
    message: str
    """What is wrong, and what to write instead."""
    message_expression: str = ""
    """A CEL expression for a message that depends on the value."""

    def document(self) -> dict[str, Any]:
        more = {"messageExpression": self.message_expression, "fieldPath": f".{self.field}" if self.field else ""}
        return {"rule": self.rule, "message": self.message} | {key: value for key, value in more.items() if value}


def with_rules(schema: dict[str, Any], rules: Iterable[Rule]) -> dict[str, Any]:
    """A copy of the schema with the rules added."""
    made = copy.deepcopy(schema)
    for rule in rules:
        node = _node(made, rule.at)
        node.setdefault("x-kubernetes-validations", []).append(rule.document())
    return made


def _node(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.replace("[]", ".[]").split(".") if path else ():
        schema = schema["items"] if name == "[]" else schema["properties"][name]
    return schema
