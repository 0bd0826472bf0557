"""Which nodes a nodeSelectorTerm fits, by the rules of the Kubernetes scheduler, for labels written in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]


def fits_one_of(terms: Sequence[Mapping[str, Any]], labels: Labels) -> bool:
    """Terms are alternatives; without any, every node does. A term with no expression fits no node."""
    return not terms or any(fits(term, labels) for term in terms)


def fits(term: Mapping[str, Any], labels: Labels) -> bool:
    assert set(term) <= {"matchExpressions"}, "fields of nodes are not simulated"
    expressions = term.get("matchExpressions", [])
    return bool(expressions) and all(holds(expression, labels) for expression in expressions)


def holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(expression["key"])
    values: list[str] = expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            (bound,) = values
            return value is not None and value.isdigit() and int(value) > int(bound)
    raise AssertionError(f"no such operator: {expression}")
