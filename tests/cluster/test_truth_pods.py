"""Status on a real control plane: pods that start slowly, crash, run out of memory, cannot be pulled.

The status names each fault within ten seconds, and drops it within ten seconds of its repair; the operator has its own default
periods. The tests repair each fault as its message says.
"""

from __future__ import annotations

import time

from cluster_kit.cluster import Document
from operator_kit.live_endpoint import SOON_S, START_S, LiveEndpoint, course, stuck

IMAGE = "registry.test/whisper-server:cpu"


def test_slow_start(endpoint: LiveEndpoint) -> None:
    endpoint.apply(course("slow-start", after="12s"))
    told = endpoint.expect(
        SOON_S,
        Ready="False ModelLoading",
        Available="False ModelLoading",
        Progressing="True ModelLoading",
        Scheduled="True Scheduled",
    )
    (pod,) = endpoint.pods()
    name = pod["metadata"]["name"]
    assert told["Ready"] == (
        f"Pod {name}: the server runs and loads its model, for which rollout.startupSeconds allows 1800 s. "
        f"Follow it: `kubectl logs -n {endpoint.namespace} {name} -c server -f`."
    )
    told = endpoint.expect(12 + SOON_S, Ready="True Ready", Available="True Available", Progressing="True RolledOut")
    assert told["Ready"] == f"1 pod serves at http://speech.{endpoint.namespace}.svc.cluster.local/v1."
    assert endpoint.has_been("ModelLoading")
    assert endpoint.has_been("Ready")


def test_crash_loop(serving: LiveEndpoint) -> None:
    said = "whisper-server: DTYPE=bfloat16 needs compute capability 8.0, this GPU has 7.5"
    serving.cluster.annotate_pods(serving.namespace, stage="crash-loop", back_off="1s", last_words=said)
    told = serving.expect(SOON_S, **stuck("CrashLoopBackOff"), Scheduled="True Scheduled", Valid="True Valid")
    (pod,) = serving.pods()
    name = pod["metadata"]["name"]
    assert told["Ready"] == (
        f"Pod {name}: the server ended with exit code 1. Its last words: DTYPE=bfloat16 needs compute capability 8.0, "
        "this GPU has 7.5. In the spec, DTYPE is engine.dtype. "
        f"See `kubectl logs -n {serving.namespace} {name} -c server --previous`."
    )
    # It goes on crashing, every two seconds; the status has nothing new to say.
    version, restarts = serving.document()["metadata"]["resourceVersion"], _restarts(serving)
    serving.cluster.wait(lambda: _restarts(serving) >= restarts + 3, 30, "three more crashes")
    assert serving.document()["metadata"]["resourceVersion"] == version
    serving.cluster.annotate_pods(serving.namespace, stage="ready")
    serving.expect(SOON_S, Ready="True Ready", Available="True Available", Progressing="True RolledOut")
    assert serving.has_been("CrashLoopBackOff")


def _restarts(endpoint: LiveEndpoint) -> int:
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in endpoint.pods())


def test_out_of_memory(serving: LiveEndpoint) -> None:
    serving.apply({"pod": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}}})
    serving.expect(START_S, Ready="True Ready", Progressing="True RolledOut")
    serving.cluster.annotate_pods(serving.namespace, stage="oom")
    told = serving.expect(SOON_S, **stuck("OOMKilled"))
    assert "was killed for using more memory than its limit of 2Gi. Raise pod.resources.limits.memory" in told["Ready"]
    serving.cluster.annotate_pods(serving.namespace, stage="ready")
    serving.expect(SOON_S, Ready="True Ready")


def test_failed_pull(endpoint: LiveEndpoint) -> None:
    endpoint.apply(course("image-pull", back_off="1s"))
    told = endpoint.expect(SOON_S, **stuck("ImagePullBackOff"))
    assert f"image {IMAGE} cannot be pulled. The node says: failed to pull and unpack image" in told["Ready"]
    assert told["Ready"].endswith("not found. Check pod.image: there is no such image.")
    endpoint.cluster.wait(lambda: endpoint.document()["status"]["replicas"], SOON_S, "the pod is counted")
    version = endpoint.document()["metadata"]["resourceVersion"]
    time.sleep(4)  # it is tried again, and waited for again
    assert endpoint.document()["metadata"]["resourceVersion"] == version
    endpoint.cluster.annotate_pods(endpoint.namespace, stage="ready")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_a_rollout_that_fails_while_the_old_pod_serves(serving: LiveEndpoint) -> None:
    serving.apply(course("crash-loop"))
    told = serving.expect(
        SOON_S, Ready="False CrashLoopBackOff", Available="True Available", Progressing="False CrashLoopBackOff"
    )
    assert told["Ready"].startswith("1 of 2 pods (")
    assert told["Ready"].endswith("Meanwhile 1 pod serves with earlier settings.")
    serving.apply()
    serving.expect(SOON_S, Ready="True Ready", Progressing="True RolledOut")


def test_a_rollout_is_waited_for_and_a_paused_one_is_named(serving: LiveEndpoint) -> None:
    def wait() -> None:
        namespace = f"--namespace={serving.namespace}"
        serving.cluster.kubectl("wait", "wep/speech", namespace, "--for=condition=RolledOut", "--timeout=30s")

    def shown() -> list[str]:
        return [pod["metadata"]["annotations"].get("example.com/n", "") for pod in serving.pods() if is_live(pod)]

    serving.apply({"pod": {"annotations": {"example.com/n": "1"}}})
    wait()
    assert shown() == ["1"]
    serving.cluster.kubectl("rollout", "pause", "deployment/speech", f"--namespace={serving.namespace}")
    serving.apply({"pod": {"annotations": {"example.com/n": "2"}}})
    told = serving.expect(
        SOON_S, Ready="False RolloutPaused", RolledOut="False RolloutPaused", Available="True Available"
    )
    assert shown() == ["1"]
    _, _, command = told["RolledOut"].partition("`kubectl ")
    serving.cluster.kubectl(*command.partition("`")[0].split())
    wait()
    assert shown() == ["2"]
    (before,) = [pod["metadata"]["uid"] for pod in serving.pods() if is_live(pod)]
    serving.cluster.kubectl("rollout", "restart", "deployment/speech", f"--namespace={serving.namespace}")
    serving.cluster.kubectl(
        "rollout", "status", "deployment/speech", f"--namespace={serving.namespace}", "--timeout=30s"
    )
    (after,) = [pod["metadata"]["uid"] for pod in serving.pods() if is_live(pod)]
    assert after != before
    restarted = serving.cluster.get("deployment", "speech", serving.namespace)["spec"]["template"]["metadata"]
    assert "kubectl.kubernetes.io/restartedAt" in restarted["annotations"]


def is_live(pod: Document) -> bool:
    return "deletionTimestamp" not in pod["metadata"]
