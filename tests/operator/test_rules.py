"""The rules as data: each is broken by a test on a real API server, points somewhere, and says what to write."""

from __future__ import annotations

import re

import pytest

from operator_kit.specs import REFUSED, UPDATES
from whisper_operator import names
from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.reserved import RESERVED_ENV, RESERVED_LABELS
from whisper_operator.resource.rule import Rule, with_rules
from whisper_operator.resource.rules import RULES

BROKEN = [
    re.sub(r'(?<=Invalid value: )".*?": ', "", re.sub(r"\[\d+\]", "[]", error))
    for error in (*(case.error for case in REFUSED), *(case.error for case in UPDATES if case.error))
]
"""As messages of rules are: without places in lists, and without what the API server quotes."""


def error_of(rule: Rule) -> str:
    path = ".".join(part for part in (rule.at, rule.field) if part)
    return f"{path}: Invalid value: {rule.message}"


def ident(rule: Rule) -> str:
    return error_of(rule)[:60]


@pytest.mark.parametrize("rule", RULES, ids=ident)
def test_every_rule_has_a_spec_that_breaks_it(rule: Rule) -> None:
    if rule.message_expression:  # says more than the message
        start = error_of(rule).rpartition(":")[0]
        assert any(said.startswith(start) for said in BROKEN)
    else:
        assert any(error_of(rule).startswith(said) for said in BROKEN)


@pytest.mark.parametrize("rule", RULES, ids=ident)
def test_every_message_says_what_to_write(rule: Rule) -> None:
    assert re.search(r"\b(write|leave)\b", rule.message)
    assert "\n" not in rule.message
    assert len(rule.message) < 250


@pytest.mark.parametrize("rule", RULES, ids=ident)
def test_every_rule_names_an_existing_field(rule: Rule) -> None:
    node = make_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in f"{rule.at}.{rule.field}".replace("[]", ".[]").strip(".").split("."):
        node = node["items"] if name == "[]" else node["properties"][name]
    assert node


def test_rules_are_unique() -> None:
    assert len(RULES) >= 20
    assert len({(rule.at, rule.rule) for rule in RULES}) == len(RULES)


def test_rules_are_put_into_a_copy() -> None:
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}}}
    plain = Rule(at="list[]", rule="self != ''", message="write something")
    full = Rule(at="", field="list", rule="has(self.list)", message="write it", message_expression="'write ' + 'it'")
    made = with_rules(schema, (plain, full))
    assert made == {
        "type": "object",
        "x-kubernetes-validations": [
            {
                "rule": "has(self.list)",
                "message": "write it",
                "messageExpression": "'write ' + 'it'",
                "fieldPath": ".list",
            }
        ],
        "properties": {
            "list": {
                "type": "array",
                "items": {
                    "type": "string",
                    "x-kubernetes-validations": [{"rule": "self != ''", "message": "write something"}],
                },
            }
        },
    }
    assert schema == {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}}}


def test_reserved_variables_and_labels_are_refused() -> None:
    assert {*RESERVED_LABELS, names.ENDPOINT_LABEL} == set(names.labels_of("speech"))
    assert RESERVED_ENV["MODEL_ID"] == "model.id"
    assert RESERVED_ENV["PORT"] == ""
    assert not {"HF_ENDPOINT", "HTTPS_PROXY", "LOG_LEVEL"} & set(RESERVED_ENV)
