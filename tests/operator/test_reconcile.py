import copy
import dataclasses

import pytest

from operator_kit.memory_cluster import FORBIDDEN, NO_ANSWER, SERVER_ERROR, TOO_MANY, Killed
from operator_kit.reconciling import KEY, SETTINGS, Bench
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.manifests.pinned_template import as_text
from whisper_operator.names import TEMPLATE_ANNOTATION
from whisper_operator.reconcile.store import Key
from whisper_operator.reconcile.work_queue import Result

PLAIN = [
    "Deployment/speech",
    "NetworkPolicy/speech",
    "PodDisruptionBudget/speech",
    "Service/speech",
    "ServiceAccount/speech",
]
RICH = {
    "autoscaling": {"maxReplicas": 4, "metric": "cpu", "target": 70},
    "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
    "exposure": {"ingress": {"host": "a.example.com"}},
}


def failing(error: ApiError, *kinds: str, method: str = "apply") -> object:
    def fail(what: str, kind: str, name: str) -> None:
        if what == method and (not kinds or kind in kinds):
            raise error

    return fail


async def test_children_are_applied_and_the_status_written() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    assert list(bench.children()) == PLAIN
    assert bench.endpoint()["status"]["observedGeneration"] == 1
    uid = bench.endpoint()["metadata"]["uid"]
    owners = {
        document["metadata"]["ownerReferences"][0]["uid"]
        for (kind, *_), document in bench.cluster.objects.items()
        if kind != "WhisperEndpoint"
    }
    assert owners == {uid}


async def test_unchanged_endpoint_causes_no_request() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    n_calls = len(bench.cluster.calls)
    for _ in range(5):
        assert await bench.reconcile() == Result()
    assert len(bench.cluster.calls) == n_calls


async def test_restart_applies_everything_once_without_a_change() -> None:
    bench = Bench()
    bench.ask(RICH)
    await bench.settle()
    before = {identity: one["metadata"]["resourceVersion"] for identity, one in bench.cluster.objects.items()}
    bench.restart()
    bench.cluster.calls.clear()
    await bench.settle()
    assert {identity: one["metadata"]["resourceVersion"] for identity, one in bench.cluster.objects.items()} == before
    assert {call[0] for call in bench.written()} == {"apply"}
    assert len(bench.written()) == len(bench.children())


@pytest.mark.parametrize("when", ["before", "after"])
async def test_kill_at_any_call_leads_to_the_same_end_state(when: str) -> None:
    undisturbed = Bench()
    undisturbed.ask(RICH)
    await undisturbed.settle()
    undisturbed.ask()
    await undisturbed.settle()
    undisturbed.ask(RICH)
    await undisturbed.settle()
    wanted, n_calls = undisturbed.children(), len(undisturbed.cluster.calls)
    n_kills = 0
    for at in range(n_calls):
        bench = Bench()
        calls = [0]

        def kill(method: str, kind: str, name: str, at: int = at, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] == at + 1:
                raise Killed

        setattr(bench.cluster, when, kill)
        for spec in (RICH, None, RICH):
            bench.ask(spec)
            if not await bench.settle_or_be_killed():
                n_kills += 1
                await bench.settle()
        assert bench.children() == wanted
    assert n_kills == n_calls


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [NO_ANSWER, TOO_MANY, SERVER_ERROR, ApiError(409, "Conflict", "changed")])
async def test_error_at_any_call_is_retried(error: ApiError, when: str) -> None:
    undisturbed = Bench()
    undisturbed.ask(RICH)
    await undisturbed.settle()
    for at in range(len(undisturbed.cluster.calls)):
        bench = Bench()
        calls = [0]

        def fail(method: str, kind: str, name: str, at: int = at, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] == at + 1:
                raise error

        setattr(bench.cluster, when, fail)
        bench.ask(RICH)
        await bench.reconcile()
        await bench.settle()
        assert bench.children() == undisturbed.children()
        assert bench.endpoint()["status"] == undisturbed.endpoint()["status"]


async def test_unreachable_api_server_ends_the_attempt_at_once() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(NO_ANSWER)  # type: ignore[assignment]
    assert await bench.reconcile() == Result(failed=True)
    assert len(bench.written()) == 1


async def test_retry_after_of_the_api_server_is_respected() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(TOO_MANY)  # type: ignore[assignment]
    assert await bench.reconcile() == Result(requeue_after_s=7, failed=True)


async def test_failing_child_does_not_block_the_others() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(SERVER_ERROR, "NetworkPolicy")  # type: ignore[assignment]
    result = await bench.reconcile()
    assert result.failed
    assert list(bench.children()) == [name for name in PLAIN if not name.startswith("NetworkPolicy")]
    assert bench.endpoint()["status"]["observedGeneration"] == 1


async def test_refused_child_is_reported_and_retried_less_and_less() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(FORBIDDEN, "Deployment")  # type: ignore[assignment]
    waits = []
    for bench.elapsed_s in (1000, 1010, 1100, 1300, 3000):
        result = await bench.reconcile()
        assert not result.failed
        waits.append(result.requeue_after_s)
    assert waits == [5, 5, 10, 30, 60]
    assert bench.conditions()["Ready"]["reason"] == "QuotaExceeded"
    assert "exceeded quota: pods" in bench.conditions()["Ready"]["message"]
    bench.cluster.before = lambda method, kind, name: None
    await bench.settle()
    assert list(bench.children()) == PLAIN
    assert bench.conditions()["Ready"]["reason"] != "QuotaExceeded"


async def test_deleted_or_terminating_endpoint_is_left_alone() -> None:
    bench = Bench()
    assert await bench.reconcile() == Result()
    bench.ask(None, deletionTimestamp="2026-01-02T05:00:00Z", finalizers=["example.com/somebody"])
    assert await bench.reconcile() == Result()
    assert bench.cluster.calls == []


async def test_children_of_a_deleted_endpoint_are_not_recreated() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.cluster.calls.clear()
    assert await bench.reconcile() == Result()
    assert bench.cluster.calls == []
    assert bench.children() == {}


async def test_status_is_never_written_to_the_successor() -> None:
    bench = Bench()
    bench.ask()
    seen = bench.cluster.watch
    bench.cluster.watch = lambda type_, document: None
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.ask()
    bench.cluster.watch = seen
    await bench.reconcile()
    assert "status" not in bench.endpoint()


async def test_child_that_is_no_longer_desired_is_deleted() -> None:
    bench = Bench()
    bench.ask(RICH)
    await bench.settle()
    more = ["HorizontalPodAutoscaler/speech", "Ingress/speech", "PersistentVolumeClaim/speech-cache"]
    assert list(bench.children()) == sorted([*PLAIN, *more])
    bench.ask()
    await bench.settle()
    assert list(bench.children()) == PLAIN
    assert sorted(bench.cluster.called("delete")) == more


async def test_drift_is_reverted_and_undesired_fields_are_left_alone() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    edited = bench.cluster.objects["Deployment", *KEY]
    bench.cluster.put({**edited, "spec": {**edited["spec"], "replicas": 5, "minReadySeconds": 7}})
    bench.cluster.calls.clear()
    await bench.settle()
    assert bench.cluster.called("apply") == ["Deployment/speech"]
    spec = bench.cluster.objects["Deployment", *KEY]["spec"]
    assert (spec["replicas"], spec["minReadySeconds"]) == (1, 7)


async def test_field_of_another_manager_causes_no_apply() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    live = bench.cluster.objects["Deployment", *KEY]
    bench.cluster.put({**live, "status": {"readyReplicas": 1}, "spec": {**live["spec"], "minReadySeconds": 0}})
    bench.cluster.calls.clear()
    await bench.settle()
    assert bench.cluster.called("apply") == []


async def test_deleted_child_is_recreated() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    bench.cluster.remove("Service", *KEY)
    await bench.settle()
    assert list(bench.children()) == PLAIN


async def test_conflict_with_another_writer_backs_off() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    n_applies = []
    for second in range(600):
        bench.elapsed_s = 2000.0 + second
        live = bench.cluster.objects["Deployment", *KEY]
        if live["spec"]["replicas"] == 1:
            bench.cluster.put({**live, "spec": {**live["spec"], "replicas": 5}})
        bench.cluster.calls.clear()
        result = await bench.reconcile()
        n_applies.append(len(bench.cluster.called("apply")))
        assert n_applies[-1] or result.requeue_after_s
    assert n_applies[0] == 1
    assert sum(n_applies) < 20
    bench.elapsed_s += 1000
    await bench.settle()
    assert bench.cluster.objects["Deployment", *KEY]["spec"]["replicas"] == 1


async def test_object_with_a_taken_name_is_left_alone_and_reported() -> None:
    bench = Bench()
    theirs = bench.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "team-a", "name": "speech"},
            "spec": {"ports": [{"port": 1}]},
        }
    )
    bench.ask()
    result = await bench.reconcile()
    assert result == Result(requeue_after_s=5)
    assert bench.cluster.objects["Service", *KEY] == theirs
    assert bench.conditions()["Ready"]["reason"] == "NameTaken"
    assert "Deployment/speech" in bench.children()
    bench.cluster.remove("Service", *KEY)
    await bench.settle()
    assert bench.conditions()["Ready"]["reason"] != "NameTaken"


@pytest.mark.parametrize(("kind", "name"), [("PersistentVolumeClaim", "speech-cache"), ("ServiceAccount", "speech")])
async def test_no_pod_uses_an_object_of_another_owner(kind: str, name: str) -> None:
    bench = Bench()
    metadata = {"namespace": "team-a", "name": name}
    theirs = bench.cluster.put({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    bench.ask(RICH)
    assert (await bench.reconcile()).requeue_after_s == 5
    assert "Deployment/speech" not in bench.children()
    assert "Service/speech" in bench.children()
    assert bench.cluster.objects[kind, "team-a", name] == theirs
    assert bench.conditions()["Ready"]["reason"] == "NameTaken"
    assert "so is the Deployment, whose pods would use it" in bench.conditions()["Ready"]["message"]
    bench.cluster.remove(kind, "team-a", name)
    await bench.settle()
    assert "Deployment/speech" in bench.children()
    assert bench.conditions()["Ready"]["reason"] != "NameTaken"


async def test_deployment_is_kept_while_its_claim_has_another_owner() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    before = bench.cluster.objects["Deployment", *KEY]
    metadata = {"namespace": "team-a", "name": "speech-cache"}
    bench.cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata})
    bench.ask(RICH)
    await bench.settle()
    assert bench.cluster.objects["Deployment", *KEY] == before


async def test_no_pod_uses_the_claim_of_a_predecessor() -> None:
    bench = Bench()
    bench.ask(RICH)
    await bench.settle()
    old = bench.cluster.objects["PersistentVolumeClaim", "team-a", "speech-cache"]
    bench.cluster.remove("WhisperEndpoint", *KEY)
    for kind, namespace, child in [one for one in bench.cluster.objects if one[0] != "WhisperEndpoint"]:
        bench.cluster.remove(kind, namespace, child)
    # Garbage collection takes its time.
    bench.cluster.objects["PersistentVolumeClaim", "team-a", "speech-cache"] = old
    bench.restart()
    bench.ask(RICH)
    assert (await bench.reconcile()).requeue_after_s == 1
    assert "Deployment/speech" not in bench.children()
    bench.cluster.remove("PersistentVolumeClaim", "team-a", "speech-cache")
    await bench.settle()
    assert "Deployment/speech" in bench.children()


async def test_children_of_a_predecessor_delay_the_apply() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    old = dict(bench.cluster.objects)
    bench.cluster.remove("WhisperEndpoint", *KEY)
    # Garbage collection takes its time.
    bench.cluster.objects.update({identity: one for identity, one in old.items() if identity[0] != "WhisperEndpoint"})
    bench.restart()
    bench.ask()
    bench.cluster.calls.clear()
    assert await bench.reconcile() == Result(requeue_after_s=1)
    assert bench.cluster.called("apply") == []
    for kind, namespace, name in [identity for identity in bench.cluster.objects if identity[0] != "WhisperEndpoint"]:
        bench.cluster.remove(kind, namespace, name)
    await bench.settle()
    assert list(bench.children()) == PLAIN


async def test_orphans_with_our_labels_are_adopted() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    uids = {identity: one["metadata"]["uid"] for identity, one in bench.cluster.objects.items()}
    for one in bench.cluster.objects.values():
        one["metadata"].pop("ownerReferences", None)
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.restart()
    new = bench.ask()
    await bench.settle()
    for identity, one in bench.cluster.objects.items():
        if identity[0] != "WhisperEndpoint":
            assert one["metadata"]["uid"] == uids[identity]
            assert one["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]


async def test_orphaned_autoscaler_of_a_spec_without_one_is_deleted_and_a_claim_is_kept() -> None:
    bench = Bench()
    bench.ask(RICH)
    await bench.settle()
    for one in bench.cluster.objects.values():
        one["metadata"].pop("ownerReferences", None)
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.restart()
    bench.ask()
    await bench.settle()
    assert list(bench.children()) == sorted([*PLAIN, "PersistentVolumeClaim/speech-cache"])


async def test_key_too_many_in_a_selector_and_a_changed_port_are_put_back() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    before = bench.children()
    live = bench.cluster.objects["Service", *KEY]
    selector, port = {**live["spec"]["selector"], "mine": "too"}, {**live["spec"]["ports"][0], "port": 81}
    bench.cluster.put({**live, "spec": {**live["spec"], "selector": selector, "ports": [port]}})
    await bench.settle()
    assert bench.children() == before
    assert bench.cluster.called("correct") == ["Service/speech"]


async def test_default_class_and_its_name_are_one() -> None:
    bench = Bench()
    default = {"name": "contour", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    made = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "example.com/c"}}
    bench.cluster.put({**made, "metadata": {**default, "namespace": ""}})
    route = {"host": "a.example.com"}
    older, younger = Key("team-b", "older"), Key("team-a", "younger")
    bench.ask({"exposure": {"ingress": route}}, older, creationTimestamp="2026-01-01T00:00:00Z")
    bench.ask(
        {"exposure": {"ingress": {**route, "className": "contour"}}}, younger, creationTimestamp="2026-01-01T00:00:01Z"
    )
    await bench.settle(younger)
    await bench.settle(older)
    assert younger in bench.enqueued
    await bench.settle(younger)
    assert [name for name in bench.children() if name.startswith("Ingress/")] == ["Ingress/older"]
    assert bench.conditions(younger)["Exposed"]["reason"] == "RouteConflict"


async def test_older_of_two_endpoints_owns_the_route() -> None:
    bench = Bench()
    spec = {"exposure": {"ingress": {"host": "a.example.com"}}}
    older, younger = Key("team-b", "older"), Key("team-a", "younger")
    bench.ask(spec, older, creationTimestamp="2026-01-01T00:00:00Z")
    bench.ask(spec, younger, creationTimestamp="2026-01-01T00:00:01Z")
    for key in (younger, older):
        await bench.settle(key)
    assert [name for name in bench.children() if name.startswith("Ingress")] == ["Ingress/older"]
    assert bench.conditions(younger)["Exposed"]["reason"] == "RouteConflict"
    assert "team-b/older" in bench.conditions(younger)["Exposed"]["message"]
    bench.enqueued.clear()
    bench.cluster.remove("WhisperEndpoint", *older)
    assert bench.enqueued == [younger]
    await bench.settle(younger)
    assert [name for name in bench.children() if name.startswith("Ingress")] == ["Ingress/younger"]
    assert bench.conditions(younger)["Exposed"]["reason"] != "RouteConflict"


async def test_unparsable_spec_leaves_the_children_alone() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    before = bench.children()
    bench.ask({"gpu": {"class": "t1000"}})
    bench.cluster.calls.clear()
    await bench.settle()
    assert bench.children() == before
    assert bench.cluster.called("apply") == []
    assert bench.conditions()["Valid"]["status"] == "False"
    assert bench.endpoint()["status"]["observedGeneration"] == 2


async def test_spec_that_is_not_allowed_leaves_the_children_alone() -> None:
    bench = Bench(dataclasses.replace(SETTINGS, allowed_image_registries=("registry.test",)))
    bench.ask()
    await bench.settle()
    before = bench.children()
    bench.ask({"pod": {"image": "evil.example/x:1"}, "replicas": 0})
    bench.cluster.calls.clear()
    await bench.settle()
    assert bench.children() == before
    assert (bench.cluster.called("apply"), bench.cluster.called("delete")) == ([], [])
    told = bench.conditions()["Valid"]
    assert (told["status"], told["reason"]) == ("False", "NotAllowed")
    assert told["message"].startswith(
        "spec.pod.image: evil.example/x:1 is not from a registry that this cluster allows"
    )
    bench.ask({"pod": {"image": "registry.test/x:1"}})
    await bench.settle()
    assert bench.conditions()["Valid"]["status"] == "True"


async def test_edited_pod_template_in_the_annotation_is_reverted() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    before = bench.cluster.objects["Deployment", *KEY]
    edited = copy.deepcopy(before)
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = "evil.example/x:1"
    edited["metadata"]["annotations"][TEMPLATE_ANNOTATION] = as_text(edited["spec"]["template"])
    bench.cluster.put(edited)
    await bench.settle()
    after = bench.cluster.objects["Deployment", *KEY]
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


async def test_event_is_recorded_once() -> None:
    bench = Bench()
    bench.ask({"access": {"apiKeysSecretRef": {"name": "keys"}}})
    for _ in range(3):
        await bench.reconcile()
    assert [event["reason"] for event in bench.cluster.events].count("SecretMissing") == 1


async def test_conflict_back_off_survives_days() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    for _ in range(1100):
        bench.elapsed_s += 60
        live = bench.cluster.objects["Deployment", *KEY]
        bench.cluster.put({**live, "spec": {**live["spec"], "replicas": 5}})
        await bench.reconcile()
        assert bench.cluster.objects["Deployment", *KEY]["spec"]["replicas"] == 1


async def test_missing_right_is_reported_in_the_status() -> None:
    bench = Bench()
    bench.ask()
    error = ApiError(403, "Forbidden", 'User "x" cannot get resource "deployments"')
    bench.cluster.before = failing(error, "Deployment", method="get")  # type: ignore[assignment]
    assert not (await bench.reconcile()).failed
    assert bench.conditions()["Ready"]["reason"] == "Forbidden"
    assert "Deployment/speech" not in bench.children()


async def test_newer_spec_in_an_answer_is_reconciled_at_once() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    see = bench.cluster.watch

    def edit(method: str, kind: str, name: str) -> None:
        if method == "apply_status" and bench.endpoint()["metadata"]["generation"] == 2:
            bench.cluster.watch = lambda type_, document: None
            bench.ask({"replicas": 5})
            bench.cluster.watch = see

    bench.cluster.before = edit
    bench.ask({"replicas": 3})
    assert (await bench.reconcile()).requeue_after_s == 0
    await bench.settle()
    assert bench.cluster.objects["Deployment", *KEY]["spec"]["replicas"] == 5


async def test_own_writes_cause_no_new_reconciliation() -> None:
    bench = Bench()
    bench.ask()
    see, late = bench.cluster.watch, []
    bench.cluster.watch = lambda type_, document: late.append((type_, document))
    await bench.reconcile()
    for type_, document in late:
        see(type_, document)
    await bench.reconcile()
    counted = {"result": "unchanged"}
    assert bench.metrics.registry.get_sample_value("whisper_operator_reconciles_total", counted) == 1


@pytest.mark.parametrize(("limits", "polls"), [({}, False), ({"nvidia.com/gpu": "1"}, True)])
async def test_only_a_pod_that_waits_for_a_device_is_looked_at_again(limits: dict[str, str], polls: bool) -> None:
    """Nodes are not watched; all else about a pod without a node is in the pod."""
    bench = Bench()
    bench.ask()
    await bench.settle()
    labels = bench.cluster.all_of("Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    bench.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "speech-x", "namespace": KEY.namespace, "labels": labels},
            "spec": {"containers": [{"name": "server", "resources": {"limits": limits}}]},
            "status": {"phase": "Pending", "conditions": [condition]},
        }
    )
    result = await bench.settle()
    assert (result.requeue_after_s is not None) is polls
