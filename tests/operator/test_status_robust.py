"""With any field missing from an object there is a status, and it is stable."""

from __future__ import annotations

import copy
import dataclasses
import random
from typing import Any

import pytest

from operator_kit.judgements import by_type, judged
from operator_kit.situations import SITUATIONS

KEPT = {"metadata", "name", "namespace", "kind"}
"""The API server sees to these."""


def shaken(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy in which some fields are missing, null or empty."""
    result = copy.deepcopy(document)
    for _ in range(chance.randint(1, 4)):
        _shake(result, chance)
    return result


def _shake(node: Any, chance: random.Random) -> None:
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = chance.choice(keys)
    child = node[key]
    if isinstance(child, dict | list) and child and (key in KEPT or chance.random() < 0.7):
        _shake(child, chance)
    elif isinstance(node, dict) and key not in KEPT:
        if chance.random() < 0.5 or not isinstance(child, dict | list):
            del node[key]
        else:
            node[key] = chance.choice([None, type(child)()])


@pytest.mark.parametrize("name", SITUATIONS)
def test_make_status_never_raises(name: str) -> None:
    situation, chance = SITUATIONS[name], random.Random(name)
    for _ in range(30):
        snapshot = dataclasses.replace(
            situation.snapshot,
            children={key: shaken(dict(child), chance) for key, child in situation.snapshot.children.items()},
            pods=tuple(shaken(dict(pod), chance) for pod in situation.snapshot.pods),
        )
        status = judged(situation.spec, snapshot, problem=situation.problem, parsed=situation.parsed)
        again = judged(situation.spec, snapshot, problem=situation.problem, parsed=situation.parsed, before=status)
        assert again == status
        assert all(reason and message for _, reason, message in by_type(status).values())
        assert by_type(status)["Available"][0] != "True" or status["readyReplicas"] > 0
