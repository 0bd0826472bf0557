"""Whole statuses, their times, and what holds while the spec cannot be read."""

from __future__ import annotations

from datetime import timedelta

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import URL, by_type, judged, message, short, snapshot_of
from operator_kit.situation import FULL, GPU, KEYS, MISSING, one_pod, serving
from whisper_operator.errors import SpecError

NOW = "2026-01-02T04:00:00Z"
LATER = live.NOW + timedelta(minutes=5)


def test_serving_endpoint_has_this_status() -> None:
    status = judged(
        {**GPU, "replicas": 2},
        snapshot_of(live.deployment(2, ready=2), pods=[live_pods.pod("a"), live_pods.pod("b")]),
        generation=7,
    )
    common = {"observedGeneration": 7, "lastTransitionTime": NOW}
    assert status == {
        "observedGeneration": 7,
        "replicas": 2,
        "readyReplicas": 2,
        "selector": "whisper-operator.io/endpoint=speech",
        "url": URL,
        "resolved": {
            "engine": "vllm",
            "gpuClass": "t4",
            "dtype": "half",
            "kvCacheDtype": "fp16",
            "image": "registry.example.com/whisper-server:1",
            "modelRevision": "main",
        },
        "conditions": [
            {"type": "Ready", "status": "True", **common, "reason": "Ready", "message": f"2 pods serve at {URL}."},
            {"type": "Available", "status": "True", **common, "reason": "Available", "message": "2 pods are ready."},
            {
                "type": "Progressing",
                "status": "True",
                **common,
                "reason": "RolledOut",
                "message": "All pods run what the spec asks for.",
            },
            {
                "type": "RolledOut",
                "status": "True",
                **common,
                "reason": "RolledOut",
                "message": "All pods run what the spec asks for.",
            },
            {
                "type": "Scheduled",
                "status": "True",
                **common,
                "reason": "Scheduled",
                "message": "Every pod has a node.",
            },
            {"type": "Valid", "status": "True", **common, "reason": "Valid", "message": "The spec can be applied."},
        ],
    }


def test_new_endpoint_has_this_status() -> None:
    status = judged({}, snapshot_of())
    assert (status["replicas"], status["readyReplicas"], status["url"]) == (0, 0, URL)


def test_transition_time_changes_only_with_the_status() -> None:
    first = judged({}, one_pod(live_pods.loading()))
    still = judged({}, one_pod(live_pods.ended(1)), before=first, now=LATER)
    since = {one["type"]: one["lastTransitionTime"] for one in still["conditions"]}
    assert since == {
        "Ready": NOW,
        "Available": NOW,
        "Progressing": "2026-01-02T04:05:00Z",
        "RolledOut": NOW,
        "Scheduled": NOW,
        "Valid": NOW,
    }
    assert short(still)["Ready"] == "False CrashLoopBackOff", "another reason, the same time"


def test_every_condition_has_the_observed_generation() -> None:
    status = judged({}, serving(), before=judged({}, serving()), generation=2, now=LATER)
    assert {one["observedGeneration"] for one in status["conditions"]} == {2}
    assert {one["lastTransitionTime"] for one in status["conditions"]} == {NOW}


# ── the Deployment's status lags behind its spec ──


def lagging(**more: object) -> live.Document:
    return live.deployment(ready=1, generation=2, snapshot=1, **more)  # type: ignore[arg-type]


def test_outdated_deployment_status_does_not_count() -> None:
    failed = lagging(progressing=live.deadline_exceeded(), failure="pods is forbidden: exceeded quota: x")
    status = judged({}, snapshot_of(failed, pods=[live_pods.pod()]), before=judged({}, serving()))
    assert short(status) == {
        "RolledOut": "False RollingOut",
        "Ready": "True Ready",
        "Available": "True Available",
        "Progressing": "True RollingOut",
        "Scheduled": "True Scheduled",
        "Valid": "True Valid",
    }
    assert message(status, "Progressing") == "The Deployment controller has not observed the newest settings yet."


def test_scaling_up_keeps_available_true() -> None:
    more = {"replicas": 3}
    pods = [live_pods.pod("a"), live_pods.pod("b", live_pods.loading()), live_pods.pod("c", live_pods.loading())]
    scaled_up = snapshot_of(live.deployment(3, ready=1, available=False), pods=pods)
    status = judged(more, scaled_up, before=judged({}, serving()))
    assert short(status) == {
        "RolledOut": "False ModelLoading",
        "Ready": "True Ready",
        "Available": "True Available",
        "Progressing": "True ModelLoading",
        "Scheduled": "True Scheduled",
        "Valid": "True Valid",
    }
    assert message(status, "Available") == "1 of 3 pods is ready."
    assert judged(more, scaled_up, before=status) == status
    # Without that past, or with a pod lost, it is for the Deployment to say.
    assert short(judged(more, scaled_up))["Available"] == "False ModelLoading"
    assert short(judged(more, scaled_up, before={**status, "readyReplicas": 2}))["Available"] == "False ModelLoading"


def test_available_is_not_true_before_the_first_pod_is_ready() -> None:
    assert short(judged({}, snapshot_of(lagging(), pods=[live_pods.pod()])))["Available"] == "False TooFewReadyPods"


def test_lost_pod_ends_available_before_the_deployment_notices() -> None:
    before = judged({}, serving())
    status = judged(
        {}, snapshot_of(live.deployment(ready=1), pods=[live_pods.pod(state=live_pods.ended(1))]), before=before
    )
    assert short(status)["Available"] == "False CrashLoopBackOff"


def test_terminating_deployment_counts_as_missing() -> None:
    deployment = live.deployment(ready=1)
    deployment["metadata"]["deletionTimestamp"] = NOW
    assert short(judged({}, snapshot_of(deployment, pods=[live_pods.pod()])))["Available"] == "False Creating"


# ── the spec cannot be read, or not be carried out ──


def test_unparsable_spec_keeps_the_other_conditions() -> None:
    ingress = {"exposure": {"ingress": {"className": "contour", "host": "a.example.com"}}}
    before = judged(ingress, serving(live.ingress(), ingress_class=live.ingress_class("contour")))
    problem = SpecError("gpu.class", "is turing: write one of auto, none, t4")
    status = judged(ingress, serving(), before=before, problem=problem, parsed=False, generation=2, now=LATER)
    invalid = "False InvalidSpec"
    assert short(status) == {**short(before), "Ready": invalid, "Valid": invalid, "RolledOut": invalid}
    assert (status["url"], status["resolved"], status["observedGeneration"]) == (URL, before["resolved"], 2)
    assert by_type(status)["Valid"][2] == (
        "spec.gpu.class: is turing: write one of auto, none, t4. Nothing is changed until it is fixed."
    )


def test_unparsable_spec_of_a_new_endpoint_is_reported() -> None:
    status = judged({}, snapshot_of(), problem=SpecError("gpu.class", "no"), parsed=False)
    assert short(status)["Available"] == "False InvalidSpec"
    assert "url" not in status
    assert "resolved" not in status


def test_spec_error_keeps_its_reason() -> None:
    problem = SpecError("pod.env[0]", "no", reason="EnvTaken")
    assert short(judged({}, serving(), problem=problem))["Ready"] == "False EnvTaken"


def test_unparsable_spec_keeps_suspend() -> None:
    status = judged({"suspend": True}, snapshot_of(live.deployment(0)), problem=SpecError("x", "no"), parsed=False)
    assert short(status)["Available"] == "False Suspended"


# ── order of precedence ──


def test_issue_that_needs_a_fix_precedes_one_that_resolves() -> None:
    pods = [live_pods.pod("a", live_pods.loading()), live_pods.unscheduled(FULL, "b")]
    status = judged({**GPU, "replicas": 2}, snapshot_of(live.deployment(2), pods=pods))
    assert short(status)["Ready"] == "False InsufficientGPU"
    assert message(status).startswith("1 of 2 pods (b) has no node. ")


def test_cause_precedes_its_effect() -> None:
    snapshot = one_pod(live_pods.waiting("CreateContainerConfigError", "no"), secrets={"clients": MISSING})
    assert short(judged(KEYS, snapshot))["Ready"] == "False SecretMissing"


def test_route_issue_ranks_between_crash_and_slow_start() -> None:
    ingress = {"exposure": {"ingress": {"className": "contour"}}}
    assert short(judged(ingress, one_pod(live_pods.loading())))["Ready"] == "False IngressClassMissing"
    assert short(judged(ingress, one_pod(live_pods.ended(1))))["Ready"] == "False CrashLoopBackOff"
