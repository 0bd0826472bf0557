"""What holds of a status in every situation."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from datetime import timedelta

import pytest

from operator_kit.judgements import by_type, judged, short
from operator_kit.live_objects import NOW, Document
from operator_kit.situation import Situation
from operator_kit.situations import SITUATIONS
from whisper_operator.reconcile.kept_fields import kept_fields
from whisper_operator.status import REASONS, events_between

IDS = list(SITUATIONS)
EACH = pytest.mark.parametrize("situation", SITUATIONS.values(), ids=IDS)
REPEATED = {
    "ValidMetricFound",
    "FailedGetResourceMetric",
    "ScaledObjectReady",
    "ScaledObjectCheckFailed",
    "FallbackExists",
}
"""Reasons that are Kubernetes' own, or KEDA's."""


def status_of(situation: Situation, **more: object) -> Document:
    return judged(
        situation.spec,
        situation.snapshot,
        problem=situation.problem,
        parsed=situation.parsed,
        **more,  # type: ignore[arg-type]
    )


@EACH
def test_situation_gives_the_expected_conditions(situation: Situation) -> None:
    assert short(status_of(situation)) == situation.expected


@EACH
def test_status_needs_no_field_that_the_store_drops(situation: Situation) -> None:
    there = situation.snapshot
    slices = None if there.slices is None else tuple(map(kept_fields, there.slices))
    preload = there.preload and dataclasses.replace(there.preload, pods=tuple(map(kept_fields, there.preload.pods)))
    kept = dataclasses.replace(there, pods=tuple(map(kept_fields, there.pods)), slices=slices, preload=preload)
    assert status_of(dataclasses.replace(situation, snapshot=kept)) == status_of(situation)


@EACH
def test_status_does_not_change_when_computed_again(situation: Situation) -> None:
    first = status_of(situation)
    before = copy.deepcopy(first)
    assert status_of(situation, before=first, now=NOW + timedelta(seconds=70)) == before
    assert first == before
    assert not events_between({"status": first}, before)


@EACH
def test_messages_are_stable_sentences(situation: Situation) -> None:
    for type_, (status, reason, message) in by_type(status_of(situation)).items():
        assert 0 < len(message) <= 1024, type_
        assert not re.search(r"\d\d:\d\d:\d\d", message), "a time would change"
        assert "  " not in message
        assert ".." not in message.replace("…", "")
        assert message.count("`") % 2 == 0
        assert re.fullmatch(r"[A-Z][A-Za-z]+", reason)
        assert reason in REASONS or reason in REPEATED
        assert status in {"True", "False", "Unknown"}


@EACH
def test_ready_needs_available_and_available_needs_a_pod(situation: Situation) -> None:
    status = status_of(situation)
    conditions = by_type(status)
    if conditions["Available"][0] == "True":
        assert status["readyReplicas"] > 0
    if conditions["Ready"][0] == "True":
        assert {conditions[type_][0] for type_ in ("Available", "Valid")} == {"True"}


@pytest.mark.parametrize(("before", "after"), [(a, b) for a, b in itertools.pairwise([*IDS, IDS[0]]) if a != b])
def test_each_change_gives_one_event(before: str, after: str) -> None:
    old, new = (status_of(SITUATIONS[name]) for name in (before, after))
    events = events_between({"status": old}, new)
    assert len({event.reason for event in events}) == len(events)
    ready = by_type(new)["Ready"]
    if short(old)["Ready"] != short(new)["Ready"] and ready[1] not in {"Creating", "NoReadyPods"}:
        assert (events[0].reason, events[0].message) == ready[1:]


def test_every_reason_of_ours_occurs_in_a_situation() -> None:
    seen = {reason for each in SITUATIONS.values() for _, reason, _ in by_type(status_of(each)).values()}
    assert seen == set(REASONS) | REPEATED
