"""Another client that keeps changing what the operator writes: told in a condition and an Event, without endless rewriting."""

import dataclasses
from typing import Any

import pytest

from operator_kit.judgements import by_type, judged
from operator_kit.reconciling import KEY, SETTINGS, Bench
from operator_kit.situation import CPU, serving
from whisper_operator.reconcile.managed_fields import changed_fields, managers_of, path_text
from whisper_operator.snapshot import ChildKey, FieldConflict

MESSAGE_OF_SCALING = (
    "spec.replicas of Deployment speech changes again and again by the field manager kube-controller-manager (scale), and is "
    "put back by the operator, more and more rarely. HorizontalPodAutoscaler mine scales this Deployment: delete it, and set "
    "spec.autoscaling instead."
)
SCALE = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "subresource": "scale",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}


def scaled_by_another(bench: Bench, replicas: int = 5) -> None:
    live = bench.cluster.objects["Deployment", *KEY]
    if live["spec"]["replicas"] != replicas:
        metadata = {**live["metadata"], "managedFields": [SCALE]}
        bench.cluster.put({**live, "metadata": metadata, "spec": {**live["spec"], "replicas": replicas}})


def autoscaler(name: str, target: str) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": KEY.namespace, "name": name},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}},
    }


async def test_autoscaler_on_the_deployment_is_told_once_and_the_condition_goes() -> None:
    bench = Bench()
    for name, target in (("mine", "speech"), ("elsewhere", "other")):
        bench.cluster.put(autoscaler(name, target))
    bench.ask()
    await bench.settle()
    bench.cluster.calls.clear()
    seen = []
    for _ in range(60):
        bench.elapsed_s += 15
        scaled_by_another(bench)
        await bench.reconcile()
        seen.append(bench.conditions().get("Synced", {}).get("message", ""))
    n_untold = seen.count("")
    assert 2 <= n_untold <= 4
    assert set(seen[n_untold:]) == {MESSAGE_OF_SCALING}
    assert len(bench.cluster.called("apply")) <= 20  # of 60 changes
    assert len(bench.cluster.called("apply_status")) == 1
    assert [each["type"] for each in bench.cluster.events if each["reason"] == "FieldConflict"] == ["Warning"]
    bench.cluster.calls.clear()
    bench.elapsed_s += 100
    result = await bench.settle()
    assert bench.conditions()["Synced"]["reason"] == "FieldConflict"
    bench.elapsed_s += result.requeue_after_s or 0
    await bench.settle()
    assert "Synced" not in bench.conditions()
    assert (await bench.reconcile()).requeue_after_s is None


async def test_child_that_is_deleted_again_and_again_is_told() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    for _ in range(4):
        bench.elapsed_s += 15
        bench.cluster.remove("Service", *KEY)
        await bench.reconcile()
    assert "Service speech is deleted again and again by another client" in bench.conditions()["Synced"]["message"]


async def test_two_operators_with_other_settings_come_to_rest_and_say_so() -> None:
    """They share a cluster, but neither a store nor a Lease; each change of one wakes the other."""
    bench = Bench()
    other = Bench(dataclasses.replace(SETTINGS, server_image_cpu="registry.test/cpu:2", cluster_domain="other.local"))
    other.cluster = bench.cluster
    other.restart()
    mine, theirs = bench._see, other._see

    def both(type_: str, document: dict[str, Any]) -> None:
        mine(type_, document)
        theirs(type_, document)

    bench.cluster.watch = both
    bench.ask()
    for second in (*range(60), *range(60, 900, 10)):
        bench.elapsed_s = other.elapsed_s = 2000.0 + second
        for one in (bench, other):
            await one.reconcile()
    assert len(bench.written()) < 120
    assert bench.conditions()["Synced"]["message"].startswith(
        "spec.template.spec.containers[0].image of Deployment speech"
    )
    assert "of WhisperEndpoint speech changes again and again" in bench.conditions()["Synced"]["message"]
    assert [each["reason"] for each in bench.cluster.events] == ["FieldConflict"]


@pytest.mark.parametrize(
    ("conflict", "words"),
    [
        (
            FieldConflict(key=ChildKey("Service", "speech"), fields=("spec.type",), managers=("kubectl-edit",)),
            "spec.type of Service speech changes again and again by the field manager kubectl-edit, and is put back",
        ),
        (
            FieldConflict(key=ChildKey("Deployment", "speech"), fields=("spec.x",), managers=("whisper-operator",)),
            "another whisper-operator: uninstall one of the two, or give each its own namespaces (watch.namespaces",
        ),
    ],
)
def test_condition_names_who_and_what_to_do(conflict: FieldConflict, words: str) -> None:
    assert words in by_type(judged(CPU, serving(conflicts=(conflict,))))["Synced"][2]


PORTS: dict[str, Any] = {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:targetPort": {}}}


@pytest.mark.parametrize(
    ("live", "after", "fields", "path", "managers"),
    [
        ({"replicas": 5}, {"replicas": 1}, {"f:replicas": {}}, "spec.replicas", ("x",)),
        ({"replicas": 5}, {"replicas": 1}, {"f:paused": {}}, "spec.replicas", ()),
        (
            {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 1}]},
            {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 2}]},
            {"f:ports": PORTS},
            "spec.ports[0].targetPort",
            ("x",),
        ),
        (
            {"ports": [{"port": 81, "protocol": "TCP", "targetPort": 1}]},
            {"ports": [{"port": 81, "protocol": "TCP", "targetPort": 2}]},
            {"f:ports": PORTS},
            "spec.ports[0].targetPort",
            (),
        ),
        ({"ports": [1, 2]}, {"ports": [1]}, {"f:ports": {}}, "spec.ports", ("x",)),
        ({"selector": {"a/b": "1"}}, {"selector": {}}, {"f:selector": {"f:a/b": {}}}, "spec.selector[a/b]", ("x",)),
    ],
)
def test_manager_of_a_field(
    live: dict[str, Any], after: dict[str, Any], fields: dict[str, Any], path: str, managers: tuple[str, ...]
) -> None:
    before = {"metadata": {"managedFields": [{"manager": "x", "fieldsV1": {"f:spec": fields}}]}, "spec": live}
    found = changed_fields(before, {"spec": after}, {"spec": after})
    assert [path_text(one) for one in found] == [path]
    assert managers_of(before, found) == managers
