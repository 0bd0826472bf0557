"""Terminating children: the message names what blocks the deletion, and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit import live_objects as live
from operator_kit.judgements import by_type, judged, message, short, snapshot_of
from operator_kit.situation import CLASS, INGRESS, serving

AWAY = (
    "Deployment speech is being deleted; finalizer foo.example/x holds it: once it is gone, a new one is made. "
    "See to the controller that takes the finalizer off, or, if there is none any more, do it: "
    '`kubectl patch deployment -n team-a speech --type=merge -p \'{"metadata":{"finalizers":null}}\'`.'
)


def leaving(child: live.Document, *finalizers: str) -> live.Document:
    about: dict[str, Any] = {**child["metadata"], "deletionTimestamp": live.at(5), "finalizers": list(finalizers)}
    return {**child, "metadata": about}


def test_terminating_deployment_names_its_foreign_finalizer() -> None:
    status = judged({}, snapshot_of(leaving(live.deployment(), "foregroundDeletion", "foo.example/x")))
    for type_ in ("Ready", "Available", "Progressing"):
        assert message(status, type_) == AWAY
    assert short(status)["Ready"] == "False Creating"


@pytest.mark.parametrize("finalizers", [(), ("foregroundDeletion",)])
def test_terminating_deployment_without_finalizer_is_waited_for(finalizers: tuple[str, ...]) -> None:
    status = judged({}, snapshot_of(leaving(live.deployment(), *finalizers)))
    assert message(status) == "Deployment speech is being deleted: once it is gone, a new one is made."


def test_missing_deployment_is_reported() -> None:
    assert message(judged({}, snapshot_of())) == "Deployment speech is not there yet."


def test_terminating_ingress_names_its_foreign_finalizer() -> None:
    status = judged(INGRESS, serving(leaving(live.ingress(), "foo.example/x"), **CLASS))
    told = by_type(status)["Exposed"][2]
    assert told.startswith("Ingress speech is being deleted; finalizer foo.example/x holds it")
    assert "`kubectl patch ingress -n team-a speech" in told
