"""Issues of pods: the message of each, and the order of several."""

from __future__ import annotations

import pytest

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import by_type, judged, message, short, snapshot_of
from operator_kit.situation import one_pod

POD = "speech-5c9-aaaaa"
PREVIOUS = f"See `kubectl logs -n team-a {POD} -c server --previous`."


def ready_of(state: live.Document, **of_pod: object) -> tuple[str, str, str]:
    snapshot = snapshot_of(live.deployment(), pods=[live_pods.pod(state=state, **of_pod)])  # type: ignore[arg-type]
    return by_type(judged({}, snapshot))["Ready"]


def test_crash_quotes_the_servers_own_message() -> None:
    said = "whisper-server: VLLM_KV_CACHE_DTYPE=fp8 needs compute capability 8.9 or later, this GPU has 7.5\n"
    assert ready_of(live_pods.ended(1, said)) == (
        "False",
        "CrashLoopBackOff",
        (
            f"Pod {POD}: the server ended with exit code 1. Its last words: VLLM_KV_CACHE_DTYPE=fp8 needs compute capability 8.9 or "
            f"later, this GPU has 7.5. In the spec, VLLM_KV_CACHE_DTYPE is engine.kvCacheDtype. {PREVIOUS}"
        ),
    )


def test_crash_names_the_fields_of_quoted_variables() -> None:
    """Each once; those that are no field of the spec are left as they are."""
    said = (
        "whisper-server: MODEL_ID: owner/name (MODEL_REVISION main) cannot be fetched: 401 from HTTPS_PROXY; check "
        "the name, HF_TOKEN and the network, or set MODEL_ID to a folder; INTERFACE is A OK\n"
    )
    assert ready_of(live_pods.ended(1, said))[2].endswith(
        "In the spec, MODEL_ID is model.id, MODEL_REVISION is model.revision, HF_TOKEN is model.tokenSecretRef. "
        f"{PREVIOUS}"
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "exit code 0 (it stopped by itself)"),
        (2, "exit code 2"),
        (127, "exit code 127 (the command is not there)"),
        (137, "exit code 137 (SIGKILL)"),
        (139, "exit code 139 (SIGSEGV)"),
        (255, "exit code 255"),
    ],
)
def test_exit_code_is_explained(code: int, told: str) -> None:
    assert ready_of(live_pods.ended(code))[2] == f"Pod {POD}: the server ended with {told}. {PREVIOUS}"


def test_crash_message_does_not_change_with_the_count() -> None:
    few, many = (ready_of(live_pods.ended(1, "2026-01-02T03:04:05Z bad", restarts=restarts)) for restarts in (1, 40))
    between = ready_of(live_pods.ended(1, "2026-01-02T03:09:59Z bad", backs_off=False))
    assert few == many == between


def test_terminated_container_counts_as_crash() -> None:
    state = live_pods.ended(1, "bad")
    state["state"] = state.pop("lastState") | {"waiting": None}
    assert ready_of({**state, "lastState": {}})[1] == "CrashLoopBackOff"


# ── memory, images, configuration ──


def test_out_of_memory_names_the_limit() -> None:
    resources = {"limits": {"memory": "4Gi"}}
    assert ready_of(live_pods.ended(137, reason="OOMKilled"), resources=resources)[2].startswith(
        f"Pod {POD}: the server was killed for using more memory than its limit of 4Gi. Raise"
    )


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("failed to authorize: 401 Unauthorized", "a Secret in pod.imagePullSecrets may be missing"),
        ("dial tcp: lookup registry.example.com: no such host", "the nodes must reach the registry"),
        ("x509: certificate signed by unknown authority", "the nodes must trust the registry's certificate"),
        ("toomanyrequests: You have reached your pull rate limit", "the registry limits anonymous pulls"),
        ("manifest unknown", "there is no such image"),
    ],
)
def test_failed_pulls_are_explained(words: str, advice: str) -> None:
    status, reason, text = ready_of(
        live_pods.waiting("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {words}')
    )
    assert (status, reason) == ("False", "ImagePullBackOff")
    assert f"The node says: {words}. Check pod.image: {advice}" in text


def test_back_off_without_message_is_reported() -> None:
    assert ready_of(live_pods.waiting("ImagePullBackOff", 'Back-off pulling image "x"'))[2] == (
        f"Pod {POD}: image registry.example.com/whisper-server:1 cannot be pulled. Check pod.image."
    )


def test_failed_pull_distinguishes_model_and_server_image() -> None:
    cache = {"cache": {"image": {"reference": "registry.example.com/model:1"}}}
    words = 'Back-off pulling image "registry.example.com/model:1": ErrImagePull: denied'
    status = judged(cache, one_pod(live_pods.waiting("ImagePullBackOff", words)))
    assert message(status) == (
        f"Pod {POD}: image registry.example.com/model:1 cannot be pulled. The node says: denied. "
        "Check cache.image.reference: a Secret in pod.imagePullSecrets may be missing."
    )


@pytest.mark.parametrize("reason", ["CreateContainerError", "RunContainerError", "PostStartHookError"])
def test_other_reasons_of_the_kubelet_are_repeated(reason: str) -> None:
    assert ready_of(live_pods.waiting(reason, "no such device")) == (
        "False",
        reason,
        (
            f"Pod {POD}: the server cannot be started. The node says: no such device. "
            f"See `kubectl describe pod -n team-a {POD}`."
        ),
    )


def test_changing_ids_are_left_out() -> None:
    words = 'failed to setup network for sandbox "' + "0123456789abcdef" * 4 + '": no'
    assert 'sandbox "…": no.' in ready_of(live_pods.waiting("CreateContainerError", words))[2]


def test_foreign_container_is_named() -> None:
    pod = live_pods.pod()
    pod["status"]["containerStatuses"].append({"name": "proxy", **live_pods.ended(1, "no config")})
    pod["status"]["conditions"] = [live.condition("Ready", "False", "ContainersNotReady")]
    assert message(judged({}, snapshot_of(live.deployment(), pods=[pod]))) == (
        f"Pod {POD}: container proxy ended with exit code 1. Its last words: no config. "
        f"See `kubectl logs -n team-a {POD} -c proxy --previous`."
    )


def test_failed_init_container_is_reported() -> None:
    pod = live_pods.pod(state=live_pods.waiting("PodInitializing"))
    pod["status"]["initContainerStatuses"] = [{"name": "mesh-init", **live_pods.ended(1, "no iptables")}]
    assert "container mesh-init ended with exit code 1" in message(
        judged({}, snapshot_of(live.deployment(), pods=[pod]))
    )


def test_closed_readiness_gate_is_reported() -> None:
    gate = live.condition("Ready", "False", "ReadinessGatesNotReady", 'gate "lb" is not there')
    status = judged({}, snapshot_of(live.deployment(), pods=[live_pods.pod(ready=False, conditions=[gate])]))
    assert by_type(status)["Ready"][1:] == (
        "NotReady",
        f'Pod {POD}: a readiness gate is closed: gate "lb" is not there.',
    )


# ── several pods ──


def test_worst_issue_comes_first_with_a_count() -> None:
    pods = [
        live_pods.pod("a", live_pods.loading()),
        live_pods.pod("b", live_pods.waiting("ErrImagePull", "not found")),
        live_pods.pod("c", live_pods.ended(1)),
        live_pods.pod("d", live_pods.ended(1)),
        live_pods.pod("e"),
    ]
    status = judged({"replicas": 5}, snapshot_of(live.deployment(5, ready=1), pods=pods))
    assert short(status)["Available"] == "False CrashLoopBackOff"
    assert message(status) == (
        "2 of 5 pods (c): the server ended with exit code 1. See `kubectl logs -n team-a c -c server --previous`."
    )
    assert message(status, "Available").startswith("Only 1 of 5 pods is ready. 2 of 5 pods (c): ")


def test_terminating_pods_are_not_judged() -> None:
    pods = [live_pods.pod("a", live_pods.ended(1), terminating=True), live_pods.pod("b")]
    assert short(judged({}, snapshot_of(live.deployment(ready=1), pods=pods)))["Ready"] == "True Ready"


def test_terminating_ready_pod_does_not_count() -> None:
    pods = [live_pods.pod("a", terminating=True)]
    status = judged({}, snapshot_of(live.deployment(ready=1, available=True), pods=pods))
    assert (status["readyReplicas"], short(status)["Available"]) == (0, "False NoReadyPods")


def test_available_needs_pods_even_if_the_deployment_disagrees() -> None:
    """One replica, maxUnavailable 1: the Deployment calls itself available while nothing serves."""
    snapshot = snapshot_of(live.deployment(ready=0, available=True), pods=[live_pods.pod(state=live_pods.loading())])
    assert short(judged({}, snapshot))["Available"] == "False ModelLoading"


def test_old_failure_is_dropped_once_its_replacement_is_ready() -> None:
    evicted = live_pods.failed("Evicted", "The node was low on resource: memory. ", ago=620)
    fresh = live_pods.pod("fresh", live_pods.loading(), created=618)
    later = live_pods.pod("later", live_pods.loading(), created=60)
    assert short(judged({}, snapshot_of(live.deployment(), pods=[evicted, fresh])))["Ready"] == "False Evicted"
    assert short(judged({}, snapshot_of(live.deployment(), pods=[evicted, later])))["Ready"] == "False ModelLoading"


def test_failed_mount_message_is_independent_of_event_order() -> None:
    setup = live.event("FailedMount", 'MountVolume.SetUp failed for volume "keys" : configmap "x" not found')
    vague = live.event("FailedMount", "Unable to attach or mount volumes: timed out waiting for the condition")
    pod = live_pods.pod(state=live_pods.waiting("ContainerCreating"), has_sandbox=False)
    one, other = (
        judged({}, snapshot_of(live.deployment(), pods=[pod], pod_events={POD: events}))
        for events in ((setup, vague), (vague, setup))
    )
    assert one == other
    assert 'volume "keys" : configmap "x" not found.' in message(one)


def test_missing_secret_is_reported_without_the_right_to_read() -> None:
    pod = live_pods.pod(state=live_pods.waiting("ContainerCreating"), has_sandbox=False)
    words = 'MountVolume.SetUp failed for volume "api-keys" : secret "clients" not found'
    status = judged(
        {}, snapshot_of(live.deployment(), pods=[pod], pod_events={POD: (live.event("FailedMount", words),)})
    )
    assert short(status)["Ready"] == "False SecretMissing"


def test_new_pod_does_not_make_scheduled_unknown() -> None:
    young, old = live_pods.unscheduled("", "b"), live_pods.unscheduled("", "b")
    young["metadata"]["creationTimestamp"] = live.at(2)
    scheduled = [
        short(judged({}, snapshot_of(live.deployment(2, ready=1), pods=pods)))["Scheduled"]
        for pods in ([live_pods.pod("a"), young], [live_pods.pod("a"), old], [young])
    ]
    assert scheduled == ["True Scheduled", "Unknown Scheduling", "Unknown Scheduling"]
