"""What the operator does on a real API server: children put back, hands off what is not its own, no trace left, no noise."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.end_state import children, versions, wait_for_pods, wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import QUICK, OperatorProcess
from whisper_operator.names import FIELD_MANAGER, STATUS_FIELD_MANAGER

SOON_S = 10.0
STILL_S = float(os.environ.get("WHISPER_STILL_SECONDS", "20"))
"""Ten drift periods; `make test-all` waits 120 s, `make soak` 600 s."""
GARBAGE_S = 60.0
"""Garbage collection learns of a new CRD within 30 s."""
CPU = {"gpu": {"class": "none"}}

pytestmark = pytest.mark.usefixtures("operator")


def make(cluster: Cluster, namespace: str, spec: dict[str, Any] | None = None, name: str = "speech") -> None:
    cluster.apply(make_endpoint({**CPU, **(spec or {})}, name=name, namespace=namespace))


def ready(cluster: Cluster, namespace: str, spec: dict[str, Any] | None = None, name: str = "speech") -> None:
    make(cluster, namespace, spec, name)
    wait_until_ready(cluster, namespace, name)


def soon(cluster: Cluster, what: str, holds: Callable[[], Any]) -> None:
    cluster.wait(holds, SOON_S, what)


def test_what_is_deleted_by_hand_comes_back(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    before = children(cluster, namespace)
    assert {name.split("/")[0] for name in before} == {
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    for child in before.values():
        cluster.delete(child["kind"], child["metadata"]["name"], namespace=namespace)
    soon(cluster, "all children are back", lambda: children(cluster, namespace).keys() == before.keys())
    after = children(cluster, namespace)
    assert {name: one["metadata"]["uid"] for name, one in before.items()}.items().isdisjoint(
        {name: one["metadata"]["uid"] for name, one in after.items()}.items()
    )
    wait_until_ready(cluster, namespace, "speech")


def test_an_edit_of_what_is_ours_is_put_back_and_other_fields_are_left_alone(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    patch = '{"metadata":{"annotations":{"mine":"kept"}},"spec":{"replicas":3,"minReadySeconds":7}}'
    cluster.kubectl("patch", "deployment", "speech", f"--namespace={namespace}", f"--patch={patch}")
    soon(cluster, "replicas are put back", lambda: deployment(cluster, namespace)["spec"]["replicas"] == 1)
    found = deployment(cluster, namespace)
    assert found["metadata"]["annotations"]["mine"] == "kept"
    assert found["spec"]["minReadySeconds"] == 7


def deployment(cluster: Cluster, namespace: str) -> dict[str, Any]:
    return cluster.get("deployment", "speech", namespace)


def test_who_scales_the_deployment_again_and_again_is_named(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)

    def synced() -> dict[str, Any]:
        conditions = cluster.get("wep", "speech", namespace)["status"]["conditions"]
        return next((one for one in conditions if one["type"] == "Synced"), {})

    def scaled_until_told() -> bool:
        if deployment(cluster, namespace)["spec"]["replicas"] == 1 and not synced():
            cluster.kubectl("scale", "deployment", "speech", f"--namespace={namespace}", "--replicas=2")
        return synced().get("reason") == "FieldConflict"

    cluster.wait(scaled_until_told, 3 * SOON_S, "the condition names the conflict")
    assert synced()["message"].startswith(
        "spec.replicas of Deployment speech changes again and again by the field manager"
    )
    assert "(scale)" in synced()["message"]
    soon(cluster, "replicas are put back", lambda: deployment(cluster, namespace)["spec"]["replicas"] == 1)


def test_labels_that_are_taken_off_are_put_back(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    labels = ["app.kubernetes.io/managed-by-", "whisper-operator.io/endpoint-"]
    cluster.kubectl("label", "service", "speech", f"--namespace={namespace}", *labels)
    soon(cluster, "the Service is found by its labels", lambda: "Service/speech" in children(cluster, namespace))
    cluster.kubectl("label", "service", "speech", f"--namespace={namespace}", "--overwrite", f"{labels[1][:-1]}=other")
    soon(cluster, "it is the endpoint's", lambda: "Service/speech" in children(cluster, namespace, "speech"))


@pytest.mark.timeout(180 + STILL_S)
def test_nothing_is_written_while_nothing_changes(cluster: Cluster, namespace: str) -> None:
    rich = {
        "autoscaling": {"maxReplicas": 2, "metric": "cpu", "target": 70},
        "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
        "pod": {"resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "2.5Gi"}}},
    }
    ready(cluster, namespace, rich)
    # On a new cluster the autoscaler learns of the kind after half a minute, and only then that it has no metrics.
    cluster.wait(
        lambda: "FailedGetResourceMetric" in str(cluster.get("wep", "speech", namespace)["status"]),
        SOON_S * 12,
        "the autoscaler knows the kind",
    )
    cluster.wait(lambda: stands_still(cluster, namespace, 5), SOON_S * 6, "the others are done")
    before = every_version(cluster, namespace)
    time.sleep(STILL_S)
    assert every_version(cluster, namespace) == before
    assert 5 * float(QUICK["DRIFT_SECONDS"]) < STILL_S


def every_version(cluster: Cluster, namespace: str) -> dict[str, str]:
    """But the autoscaler's, whose own status moves with its tries."""
    endpoint = cluster.get("wep", "speech", namespace)
    found = {**versions(children(cluster, namespace)), "endpoint": endpoint["metadata"]["resourceVersion"]}
    return {name: version for name, version in found.items() if "Autoscaler" not in name}


def stands_still(cluster: Cluster, namespace: str, seconds: float) -> bool:
    before = every_version(cluster, namespace)
    time.sleep(seconds)
    return every_version(cluster, namespace) == before


def test_kopf_leaves_no_trace(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    text = cluster.kubectl("get", "wep", "speech", f"--namespace={namespace}", "-ojson", "--show-managed-fields")
    assert "kopf" not in text
    metadata = cluster.get("wep", "speech", namespace)["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata
    managers = cluster.kubectl(
        *("get", "wep", "speech", f"--namespace={namespace}", "--show-managed-fields"),
        "-ojsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}/{.subresource} {end}",
    )
    assert sorted(managers.split()) == ["test/Apply/", f"{STATUS_FIELD_MANAGER}/Apply/status"]
    for name, child in children(cluster, namespace).items():
        text = cluster.kubectl("get", name.lower(), f"--namespace={namespace}", "-ojson", "--show-managed-fields")
        assert "kopf" not in text
        assert f'"manager": "{FIELD_MANAGER}"' in text
        assert "finalizers" not in child["metadata"]


def test_orphans_are_taken_up_again(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    before = deployment(cluster, namespace)["metadata"]["uid"]
    cluster.kubectl("delete", "wep", "speech", f"--namespace={namespace}", "--cascade=orphan")
    cluster.wait(
        lambda: "ownerReferences" not in deployment(cluster, namespace)["metadata"], GARBAGE_S, "it has no owner"
    )
    ready(cluster, namespace)
    assert deployment(cluster, namespace)["metadata"]["uid"] == before


def test_deleted_and_made_again_at_once_is_a_new_endpoint(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    before = deployment(cluster, namespace)["metadata"]["uid"]
    cluster.kubectl("delete", "wep", "speech", f"--namespace={namespace}")
    make(cluster, namespace)
    cluster.wait(
        lambda: deployment(cluster, namespace)["metadata"]["uid"] != before, GARBAGE_S, "the old Deployment is gone"
    )
    wait_until_ready(cluster, namespace, "speech")
    owner = cluster.get("wep", "speech", namespace)["metadata"]["uid"]
    owners = {one["metadata"]["ownerReferences"][0]["uid"] for one in children(cluster, namespace).values()}
    assert owners == {owner}


def test_a_deleted_endpoint_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace, {"cache": {"persistentVolumeClaim": {"size": "1Gi"}}})
    cluster.kubectl("delete", "wep", "speech", f"--namespace={namespace}")
    cluster.wait(lambda: not children(cluster, namespace), GARBAGE_S, "all children are gone")
    wait_for_pods(cluster, namespace, "speech", 0)


def test_what_is_not_wished_for_any_more_goes(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace, {"autoscaling": {"maxReplicas": 2, "metric": "cpu", "target": 70}})
    assert "HorizontalPodAutoscaler/speech" in children(cluster, namespace)
    make(cluster, namespace)
    soon(cluster, "no autoscaler", lambda: "HorizontalPodAutoscaler/speech" not in children(cluster, namespace))


def test_a_change_is_applied_at_once(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)
    cluster.kubectl("scale", "wep", "speech", "--replicas=2", f"--namespace={namespace}")
    cluster.wait(lambda: deployment(cluster, namespace)["spec"]["replicas"] == 2, 5, "it is applied")


def test_events_tell_what_changed(cluster: Cluster, namespace: str) -> None:
    ready(cluster, namespace)

    def told() -> list[str]:
        found = cluster.find("events", namespace)
        return [one["reason"] for one in found if one["involvedObject"]["kind"] == "WhisperEndpoint"]

    soon(cluster, "an Event says Ready", lambda: "Ready" in told())
    assert len(told()) < 10


def test_a_namespace_that_goes_takes_its_endpoints_along(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    ready(cluster, namespace)
    cluster.delete("namespace", namespace)
    with pytest.raises(CommandFailed):
        cluster.get("namespace", namespace)
    assert operator.ask("/healthz")[0] == 200
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})


EXTRA = {"mine": "too"}
HTTP_81 = {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}}
EDITS: list[tuple[str, dict[str, Any]]] = [
    ("service", HTTP_81),
    ("service", {"spec": {"ports": [{"name": "http", "port": 80}, {"name": "more", "port": 81}]}}),
    ("service", {"spec": {"selector": EXTRA}}),
    ("networkpolicy", {"spec": {"podSelector": {"matchLabels": EXTRA}}}),
    ("networkpolicy", {"spec": {"podSelector": {"matchExpressions": [{"key": "mine", "operator": "Exists"}]}}}),
    ("networkpolicy", {"spec": {"ingress": []}}),
    ("poddisruptionbudget", {"spec": {"selector": {"matchLabels": EXTRA}}}),
    (
        "deployment",
        {"spec": {"template": {"spec": {"containers": [{"name": "server", "env": [{"name": "MINE", "value": "1"}]}]}}}},
    ),
]


def test_what_the_operator_writes_is_put_back_entirely(cluster: Cluster, namespace: str) -> None:
    """Also what server-side apply cannot put back: keys of a selector, and a port of another number with our name."""
    ready(cluster, namespace)

    def specs() -> dict[str, Any]:
        return {kind: cluster.get(kind, "speech", namespace)["spec"] for kind in {kind for kind, _ in EDITS}}

    before = specs()
    for kind, edit in EDITS:
        # Strategic merge, as `kubectl edit` sends it; it adds to lists that have a key.
        merge = "merge" if edit == HTTP_81 else "strategic"
        patch = ["patch", kind, "speech", f"--namespace={namespace}", f"--type={merge}", f"--patch={json.dumps(edit)}"]
        cluster.kubectl(*patch)
        soon(cluster, f"{kind} is as before {edit}", lambda: specs() == before)
    wait_until_ready(cluster, namespace, "speech")
