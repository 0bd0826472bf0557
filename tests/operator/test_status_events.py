"""Our own Events: each change once, in the words of the condition."""

from __future__ import annotations

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, snapshot_of
from operator_kit.situation import FULL, GATEWAY, GPU, no_node, one_pod, serving
from operator_kit.situations import SITUATIONS
from whisper_operator.status import EventToRecord, events_between


def told(before: live.Document, after: live.Document) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in events_between({"status": before}, after)]


def test_first_status_gives_these_events() -> None:
    status = judged({}, one_pod(live_pods.loading()))
    assert events_between({}, status) == (
        EventToRecord(type="Normal", reason="ModelLoading", message=message(status), action="Reconcile"),
    )


def test_ready_after_a_slow_start_gives_one_event() -> None:
    before, after = judged({}, one_pod(live_pods.loading())), judged({}, serving())
    assert told(before, after) == [("Normal", "Ready")]


def test_issue_in_several_conditions_gives_one_event() -> None:
    assert told(judged(GPU, serving()), judged(GPU, no_node(FULL))) == [("Warning", "InsufficientGPU")]


def test_two_issues_give_two_events() -> None:
    pods = [live_pods.pod("a", live_pods.ended(1))]
    after = judged(GATEWAY, snapshot_of(live.deployment(), pods=pods))
    assert told({}, after) == [("Warning", "CrashLoopBackOff"), ("Warning", "GatewayApiMissing")]


def test_changed_message_alone_gives_no_event() -> None:
    one, other = (judged({}, one_pod(live_pods.ended(code))) for code in (1, 2))
    assert message(one) != message(other)
    assert told(one, other) == []


def test_successful_rollout_gives_one_event() -> None:
    before = judged({}, serving())
    during = judged({}, snapshot_of(live.deployment(ready=1, updated=0), pods=[live_pods.pod()]))
    assert (told(before, during), told(during, before)) == ([], [("Normal", "RolledOut")])


def test_event_of_ready_comes_first() -> None:
    pods = [live_pods.pod("a", live_pods.ended(1)), live_pods.unscheduled(FULL, "b")]
    after = judged(GPU, snapshot_of(live.deployment(2), pods=pods))
    assert told({}, after) == [("Warning", "CrashLoopBackOff"), ("Warning", "InsufficientGPU")]


def test_transient_state_gives_no_event() -> None:
    assert told({}, judged({}, snapshot_of())) == []


def test_suspending_gives_no_warning() -> None:
    situation = SITUATIONS["suspended"]
    assert told(judged({}, serving()), judged(situation.spec, situation.snapshot)) == [("Normal", "Suspended")]
