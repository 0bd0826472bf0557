"""What is simulated looks as it does in a real cluster: GPU nodes, the courses of pods on them, volumes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.nodes import Nodes
from cluster_kit.reading import condition, container, is_ready, waits_for
from cluster_kit.simulated_nodes import BY_NAME, CATALOGUE, NodeSpec
from cluster_kit.simulated_pods import AFTER, BACK_OFF, MESSAGE, STAGE, TERMINATING
from cluster_kit.workloads import deployment, pod

pytestmark = pytest.mark.test_bed


def pod_when(cluster: Cluster, name: str, namespace: str, holds: Callable[[Document], bool], what: str) -> Document:
    def asked() -> Document | None:
        found = cluster.get("pod", name, namespace)
        return found if holds(found) else None

    return cluster.wait(asked, 30, f"pod {name}: {what}")


def test_every_node_of_the_catalogue_is_there_and_ready(nodes: Nodes) -> None:
    found = {node["metadata"]["name"]: node for node in nodes.cluster.find("nodes")}
    assert set(BY_NAME) <= set(found)
    for spec in CATALOGUE:
        node = found[spec.name]
        assert is_ready(node)
        assert spec.labels.items() <= node["metadata"]["labels"].items()
        assert node["status"]["allocatable"].get("nvidia.com/gpu", "0") == str(spec.gpus)
        values = [taint["value"] for taint in node["spec"].get("taints", []) if taint["key"] == "nvidia.com/gpu"]
        assert values == ([] if spec.taint is None else [spec.taint])


def test_of_two_pods_the_only_t4_takes_one(cluster: Cluster, nodes: Nodes, namespace: str) -> None:
    nodes.only("t4-0", "cpu")
    cluster.apply(pod("first", namespace, gpus=1))
    first = pod_when(cluster, "first", namespace, is_ready, "is ready")
    assert first["spec"]["nodeName"] == "t4-0"
    cluster.apply(pod("second", namespace, gpus=1))
    second = pod_when(
        cluster, "second", namespace, lambda found: "reason" in condition(found, "PodScheduled"), "was looked at"
    )
    assert condition(second, "PodScheduled")["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in condition(second, "PodScheduled")["message"]
    cluster.delete("pod", "first", namespace=namespace)
    pod_when(cluster, "second", namespace, is_ready, "follows the first")


def test_a_pod_goes_where_its_labels_say(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("picky", namespace, gpus=1, nodeSelector={"karpenter.k8s.aws/instance-gpu-name": "t4"}))
    found = pod_when(cluster, "picky", namespace, is_ready, "is ready")
    assert found["spec"]["nodeName"] == "karpenter-t4"


def test_a_node_comes_and_goes_with_its_pods(cluster: Cluster, nodes: Nodes, namespace: str) -> None:
    nodes.only()
    assert nodes.names() == set()
    cluster.apply(deployment("web", namespace))
    nodes.add(NodeSpec("late"))
    cluster.wait(lambda: [found for found in cluster.find("pods", namespace) if is_ready(found)], 30, "it is ready")
    nodes.remove("late")
    assert not [found for found in cluster.find("pods", namespace) if found["spec"].get("nodeName")]


@pytest.mark.parametrize(("course", "exit_code"), [("crash-loop", 1), ("oom", 137)])
def test_a_crash_loop_counts_its_restarts(cluster: Cluster, namespace: str, course: str, exit_code: int) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: course, BACK_OFF: "500ms"}))
    found = pod_when(
        cluster,
        "sick",
        namespace,
        lambda found: container(found).get("restartCount", 0) >= 2 and waits_for(found) == "CrashLoopBackOff",
        "crashed twice",
    )
    ended = container(found)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (exit_code, "OOMKilled" if course == "oom" else "Error")
    assert found["status"]["phase"] == "Running"
    assert condition(found, "Ready")["reason"] == "ContainersNotReady"
    assert "back-off" in container(found)["state"]["waiting"]["message"]


def test_a_failed_pull_backs_off(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "image-pull"}))
    found = pod_when(cluster, "sick", namespace, lambda found: waits_for(found) == "ImagePullBackOff", "backs off")
    assert found["status"]["phase"] == "Pending"
    assert 'Back-off pulling image "registry.example/nothing:1"' in container(found)["state"]["waiting"]["message"]


def test_a_missing_secret_is_named(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "config-error", MESSAGE: 'secret "keys" not found'}))
    reason = "CreateContainerConfigError"
    found = pod_when(cluster, "sick", namespace, lambda found: waits_for(found) == reason, "has no secret")
    assert container(found)["state"]["waiting"]["message"] == 'secret "keys" not found'


def test_a_failed_mount_shows_in_an_event_only(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "failed-mount"}))
    pod_when(cluster, "sick", namespace, lambda found: waits_for(found) == "ContainerCreating", "waits")
    events = cluster.wait(
        lambda: [event for event in cluster.find("events", namespace) if event["reason"] == "FailedMount"], 10, "event"
    )
    assert events[0]["involvedObject"]["name"] == "sick"


def test_a_slow_start_runs_before_it_is_ready(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("slow", namespace, course={STAGE: "slow-start", AFTER: "2s"}))
    found = pod_when(cluster, "slow", namespace, lambda found: found["status"]["phase"] == "Running", "runs")
    assert not is_ready(found)
    assert container(found)["started"] is False
    assert is_ready(pod_when(cluster, "slow", namespace, is_ready, "is ready"))


def test_a_live_pod_falls_ill_and_gets_well(cluster: Cluster, namespace: str) -> None:
    cluster.apply(deployment("web", namespace))
    (before,) = cluster.wait(
        lambda: [found for found in cluster.find("pods", namespace) if is_ready(found)], 30, "ready"
    )
    for course in ("crash-loop", "image-pull", "config-error", "not-ready"):
        cluster.annotate_pods(namespace, stage=course)
        pod_when(cluster, before["metadata"]["name"], namespace, lambda found: not is_ready(found), f"{course} shows")
        cluster.annotate_pods(namespace, stage="ready")
        pod_when(cluster, before["metadata"]["name"], namespace, is_ready, f"is well again after {course}")
    (after,) = cluster.find("pods", namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


@pytest.mark.parametrize(("course", "phase"), [("ready", "Succeeded"), ("fail", "Failed")])
def test_a_pod_that_is_not_restarted_ends(cluster: Cluster, namespace: str, course: str, phase: str) -> None:
    cluster.apply(pod("job", namespace, restart="Never", course={STAGE: course}))
    pod_when(cluster, "job", namespace, lambda found: found["status"]["phase"] == phase, phase)


def test_a_deleted_pod_takes_its_grace_period(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("slow", namespace, course={TERMINATING: "2s"}))
    pod_when(cluster, "slow", namespace, is_ready, "is ready")
    cluster.delete("pod", "slow", namespace=namespace, wait=False)
    assert cluster.get("pod", "slow", namespace)["metadata"]["deletionTimestamp"]
    cluster.wait(lambda: not cluster.find("pods", namespace), 10, "gone")


def test_a_claim_gets_a_volume_and_takes_it_along(cluster: Cluster, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache", "namespace": namespace}}
    cluster.apply({**claim, "spec": spec})

    def bound() -> str | None:
        found = cluster.get("pvc", "cache", namespace)
        volume: str = found["spec"].get("volumeName", "")
        return volume if found["status"]["phase"] == "Bound" else None

    volume = cluster.wait(bound, 30, "the claim is bound")
    cluster.delete("pvc", "cache", namespace=namespace)
    cluster.wait(lambda: volume not in json.dumps(cluster.find("pv")), 30, "the volume is gone")
