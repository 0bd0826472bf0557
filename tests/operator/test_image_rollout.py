"""A new default image reaches a few endpoints at a time, and no other one after a failure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from operator_kit.chosen import CPU_IMAGE, operator_settings
from operator_kit.endpoints import make_stored_endpoint, parsed_endpoint
from operator_kit.judgements import by_type, judged
from operator_kit.situation import serving
from whisper_operator.manifests import earlier_default, keeping, make_children
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.image_rollout import ImageRollout, Plan, Stage, planned
from whisper_operator.reconcile.image_turns import ImageTurns, Outcome
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import ImageHold
from whisper_operator.status.events import events_between

Document = dict[str, Any]
A, B, C, D = (Key("n", name) for name in "abcd")
WAITING, UNWELL, ROLLING, FAILED = Stage
CPU = {"gpu": {"class": "none"}}
STAGED = "whisper-operator.io/staged-image"


def test_as_many_roll_as_are_allowed_in_the_order_of_names() -> None:
    assert planned({C: WAITING, A: WAITING, B: WAITING}, 2) == Plan(frozenset({A, B}))
    assert planned({C: WAITING, A: ROLLING, B: WAITING}, 2) == Plan(frozenset({B}))
    assert planned({C: WAITING, A: ROLLING, B: ROLLING}, 2) == Plan()
    assert planned({C: WAITING, A: ROLLING, B: ROLLING}, 1) == Plan()


def test_failure_stops_all_others() -> None:
    assert planned({A: WAITING, B: FAILED, C: ROLLING, D: UNWELL}, 3) == Plan(stopped_by=B)


def test_unwell_endpoints_come_last() -> None:
    assert planned({A: UNWELL, B: WAITING}, 2) == Plan(frozenset({B}))
    assert planned({A: UNWELL, B: ROLLING}, 2) == Plan()
    assert planned({A: UNWELL, D: UNWELL}, 1) == Plan(frozenset({A}))


def test_next_endpoint_is_enqueued_when_one_is_done_and_all_when_one_fails() -> None:
    enqueued: list[Key] = []
    counts: list[dict[str, int]] = []
    rollout = ImageRollout(1, enqueued.append, lambda found: counts.append(dict(found)))
    assert [rollout.takes_turn(key, is_well=True) for key in (A, B, C)] == [True, False, False]
    assert rollout.takes_turn(A, is_well=True)
    assert (rollout.verdict(B), enqueued) == ((True, ""), [])
    rollout.set(A, Stage.FAILED)
    assert (rollout.verdict(B), enqueued) == ((True, "n/a"), [B, C])
    rollout.set(A, None)
    assert (rollout.verdict(B), rollout.verdict(C)) == ((False, ""), (True, ""))
    assert enqueued[2:] == [B, C]
    assert rollout.takes_turn(B, is_well=True)
    assert counts[-1] == {"waiting": 1, "rolling": 1}
    rollout.set(B, None)
    assert enqueued[-1] == C


def test_failure_that_flaps_frees_no_turn() -> None:
    rollout = ImageRollout(3, lambda key: None, lambda counts: None)
    assert rollout.takes_turn(A, is_well=True)
    rollout.keep_turn(A, is_stuck=True)
    assert not rollout.takes_turn(B, is_well=True)
    rollout.keep_turn(A, is_stuck=False)
    assert rollout.takes_turn(A, is_well=True)  # its Deployment was put back by hand
    assert not rollout.takes_turn(B, is_well=True)
    rollout.set(A, None)
    assert rollout.takes_turn(B, is_well=True)


@pytest.mark.parametrize(("progressing", "goes_on"), [("True", True), ("False", False)])
def test_operator_that_restarts_knows_which_endpoint_has_failed(progressing: str, *, goes_on: bool) -> None:
    store, settings = Store(), dataclasses.replace(NEWER, image_rollout_at_once=3)
    turns = ImageTurns(settings, store, Metrics(), lambda key: None)
    endpoint = make_stored_endpoint(CPU, name="speech")
    condition = {"type": "Progressing", "status": progressing}
    store.put({**endpoint, "status": {"conditions": [{"type": "Available", "status": "True"}, condition]}})
    rolling = deployed(CPU, settings, deployed=deployed(CPU, operator_settings()), in_turn=True)
    store.put({**rolling, "metadata": {**rolling["metadata"], "uid": "u", "resourceVersion": "1"}})
    turns.resume()
    other = make_stored_endpoint(CPU, name="other")
    status = {"conditions": [{"type": "Available", "status": "True"}]}
    before = deployed(CPU, operator_settings(), name="other")
    there = {**other, "status": status}
    turn = turns.turn_of(Key("team-a", "other"), there, parse_endpoint(other), before, is_preloading=False)
    assert (turn.hold is None) is goes_on


def test_turn_is_kept_until_the_deployment_has_this_image_not_the_one_before() -> None:
    """Its answer got lost, and what is known is still the Deployment of the last rollout, which is done."""
    store, settings = Store(), dataclasses.replace(NEWER, image_rollout_at_once=1)
    turns = ImageTurns(settings, store, Metrics(), lambda key: None)
    middle = dataclasses.replace(NEWER, server_image_cpu="registry.test/cpu:1.5")
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    held = []
    for name in ("speech", "other"):
        made = deployed(CPU, middle, name=name, deployed=deployed(CPU, operator_settings(), name=name), in_turn=True)
        before = {**made, "metadata": {**made["metadata"], "uid": name, "resourceVersion": "1"}, "status": counts}
        store.put(before)
        endpoint = make_stored_endpoint(CPU, name=name)
        there = {**endpoint, "status": {"conditions": [{"type": "Available", "status": "True"}]}}
        key = Key("team-a", name)
        turn = turns.turn_of(key, there, parse_endpoint(endpoint), before, is_preloading=False)
        turns.note(key, {}, turn, Outcome.SENT)
        held.append(turn.hold is not None)
    assert held == [False, True]


def test_no_endpoint_waits_where_all_go_at_once() -> None:
    rollout = ImageRollout(0, lambda key: None, lambda counts: None)
    assert all(rollout.takes_turn(key, is_well=False) for key in (A, B, C))
    assert rollout.verdict(C) == (False, "")


def deployed(spec: Document, settings: Settings, name: str = "speech", **more: Any) -> Document:
    made = make_children(
        parsed_endpoint(spec, name=name), settings, served_kinds=frozenset(), ingress_controller="", **more
    )
    return next(child for child in made if child["kind"] == "Deployment")


NEWER = operator_settings(server_image_cpu="new:2", server_image_gpu="new-gpu:2")


@pytest.mark.parametrize(
    ("before", "after", "waits"),
    [
        (CPU, CPU, True),
        (CPU, {**CPU, "replicas": 3}, True),
        (CPU, {**CPU, "rollout": {"drainSeconds": 7}}, False),
        (CPU, {**CPU, "pod": {"image": "mine:1"}}, False),
        ({**CPU, "pod": {"image": "mine:1"}}, CPU, False),
        ({**CPU, "pod": {"image": "mine:1"}}, {**CPU, "pod": {"image": "mine:1"}}, False),
    ],
)
def test_only_a_new_default_is_waited_for(before: Document, after: Document, waits: bool) -> None:
    there = deployed(before, operator_settings())
    found = earlier_default(parsed_endpoint(after), NEWER, there)
    assert found == (CPU_IMAGE if waits else "")
    assert earlier_default(parsed_endpoint(after), NEWER, None) == ""


def test_endpoint_that_waits_keeps_its_pods() -> None:
    there = deployed(CPU, operator_settings())
    kept = deployed(CPU, keeping(NEWER, CPU_IMAGE), deployed=there)
    assert kept == there


def test_deployment_is_marked_until_all_pods_run_the_new_image() -> None:
    there = deployed(CPU, operator_settings())
    turn = deployed(CPU, NEWER, deployed=there, in_turn=True)
    assert turn["metadata"]["annotations"][STAGED] == "new:2"
    counts = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
    for status, is_marked in (({}, True), ({**counts, "replicas": 2}, True), (counts, False)):
        after = deployed(CPU, NEWER, deployed={**turn, "status": status})
        assert (STAGED in after["metadata"]["annotations"]) is is_marked


def test_status_says_what_an_endpoint_waits_for() -> None:
    hold = ImageHold(kept="old:1", wanted="new:2")
    waits = judged(CPU, serving(image_hold=hold))
    assert by_type(waits)["DefaultImage"] == (
        "False",
        "ImageWaiting",
        (
            "Pods keep old:1, the earlier default image of the operator. new:2 is rolled out to a few endpoints at a time; "
            "this one gets it by itself."
        ),
    )
    stopped = judged(CPU, serving(image_hold=ImageHold(kept="old:1", wanted="new:2", stopped_by="team-b/other")))
    assert by_type(stopped)["DefaultImage"][1:] == (
        "ImageRolloutStopped",
        (
            "The rollout of new:2 has stopped, because WhisperEndpoint team-b/other does not get ready with it: see "
            "`kubectl describe wep -n team-b other`. It goes on once that one is ready, is deleted, or has a pod.image of its own. "
            "Pods keep old:1, the earlier default image of the operator."
        ),
    )
    assert by_type(stopped)["Ready"][0] == "True"
    assert "DefaultImage" not in by_type(judged(CPU, serving()))
    assert [each.reason for each in events_between({"status": waits}, stopped)] == ["ImageRolloutStopped"]
    assert events_between({"status": judged(CPU, serving())}, waits) == ()
