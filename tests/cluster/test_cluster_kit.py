"""What the test cluster promises to the tests that use it: placement, courses of pods, faults, users."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from cluster_kit import simulated_pods
from cluster_kit.cluster import Cluster, CommandFailed, Document
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import BY_NAME, CATALOGUE, NodeSpec
from cluster_kit.simulated_pods import AFTER, BACK_OFF, MESSAGE, STAGE, TERMINATING
from cluster_kit.workloads import deployment, pod


def condition(document: Document, kind: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = document["status"].get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {"status": "none"})


def container(document: Document) -> dict[str, Any]:
    status: dict[str, Any] = document["status"].get("containerStatuses", [{}])[0]
    return status


def waiting_for(document: Document) -> str:
    reason: str = container(document).get("state", {}).get("waiting", {}).get("reason", "")
    return reason


def is_ready(document: Document) -> bool:
    return bool(condition(document, "Ready")["status"] == "True")


def wait_for_replica(cluster: Cluster, name: str, namespace: str) -> None:
    cluster.wait(
        lambda: cluster.get("deployment", name, namespace)["status"].get("readyReplicas"), 30, f"{name} has a replica"
    )


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
    wait_for_replica(cluster, "web", namespace)
    nodes.remove("late")
    assert not [found for found in cluster.find("pods", namespace) if found["spec"].get("nodeName")]


@pytest.mark.parametrize(("course", "exit_code"), [("crash-loop", 1), ("oom", 137)])
def test_a_crash_loop_counts_its_restarts(cluster: Cluster, namespace: str, course: str, exit_code: int) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: course, BACK_OFF: "500ms"}))
    found = pod_when(
        cluster,
        "sick",
        namespace,
        lambda found: container(found).get("restartCount", 0) >= 2 and waiting_for(found) == "CrashLoopBackOff",
        "crashed twice",
    )
    ended = container(found)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (exit_code, "OOMKilled" if course == "oom" else "Error")
    assert found["status"]["phase"] == "Running"
    assert condition(found, "Ready")["reason"] == "ContainersNotReady"
    assert "back-off" in container(found)["state"]["waiting"]["message"]


def test_a_failed_pull_backs_off(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "image-pull"}))
    found = pod_when(cluster, "sick", namespace, lambda found: waiting_for(found) == "ImagePullBackOff", "backs off")
    assert found["status"]["phase"] == "Pending"
    assert 'Back-off pulling image "registry.example/nothing:1"' in container(found)["state"]["waiting"]["message"]


def test_a_missing_secret_is_named(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "config-error", MESSAGE: 'secret "keys" not found'}))
    reason = "CreateContainerConfigError"
    found = pod_when(cluster, "sick", namespace, lambda found: waiting_for(found) == reason, "has no secret")
    assert container(found)["state"]["waiting"]["message"] == 'secret "keys" not found'


def test_a_failed_mount_shows_in_an_event_only(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("sick", namespace, course={STAGE: "failed-mount"}))
    pod_when(cluster, "sick", namespace, lambda found: waiting_for(found) == "ContainerCreating", "waits")
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
    wait_for_replica(cluster, "web", namespace)
    (before,) = cluster.find("pods", namespace)
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


def test_a_deleted_pod_takes_the_time_that_it_is_told_to(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("slow", namespace, course={TERMINATING: "2s"}))
    pod_when(cluster, "slow", namespace, is_ready, "is ready")
    cluster.delete("pod", "slow", namespace=namespace, wait=False)
    assert cluster.get("pod", "slow", namespace)["metadata"]["deletionTimestamp"]
    cluster.wait(lambda: not cluster.find("pods", namespace), 10, "gone")


def test_no_two_stages_want_the_same_pod() -> None:
    names = [stage["metadata"]["name"] for stage in simulated_pods.stages()]
    assert len(names) == len(set(names))


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_apiserver_comes_back_with_all_that_it_knew(
    cluster: Cluster, namespace: str, number: signal.Signals
) -> None:
    if cluster.layout is None:
        pytest.skip("the named cluster was not started by this kit: its apiserver is left alone")
    cluster.apply(deployment("before", namespace))
    cluster.stop(number=number)
    with pytest.raises(CommandFailed, match="refused"):
        cluster.find("pods")
    cluster.start()
    cluster.apply(deployment("after", namespace))
    for each in ("before", "after"):
        wait_for_replica(cluster, each, namespace)


def test_a_user_may_do_what_its_roles_say(cluster: Cluster, namespace: str) -> None:
    metadata = {"name": "reader", "namespace": namespace}
    roles = "rbac.authorization.k8s.io"
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{roles}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        },
        {
            "apiVersion": f"{roles}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": roles, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
    )
    reader = cluster.as_account("reader", namespace)
    assert reader.find("pods", namespace) == []
    with pytest.raises(CommandFailed, match=f"system:serviceaccount:{namespace}:reader.*cannot list.*secrets"):
        reader.find("secrets", namespace)


def test_a_namespace_lets_in_restricted_pods_only(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        cluster.apply(pod("rooted", namespace, hostNetwork=True))


def test_helm_installs_and_leaves_nothing_in_the_home_folder(cluster: Cluster, namespace: str) -> None:
    version = cluster.helm("version", "--short")
    assert version.startswith("v3.")
    assert cluster.helm("list", f"--namespace={namespace}", "--short") == ""
    assert str(cluster.folder) in cluster.helm("env", "HELM_CACHE_HOME")


def test_the_components_are_small(cluster: Cluster) -> None:
    if cluster.layout is None:
        pytest.skip("the named cluster was not started by this kit: its processes are not known")
    figures = cluster.figures()
    print({name: f"{figure.rss_bytes / 2**20:.0f} MiB, {figure.cpu_s:.1f} s" for name, figure in figures.items()})
    assert sum(figure.rss_bytes for figure in figures.values()) < 1.5 * 2**30
