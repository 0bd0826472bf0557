import pytest

from operator_kit.memory_cluster import FORBIDDEN, NO_ANSWER, SERVER_ERROR, TOO_MANY, Killed
from operator_kit.reconciling import KEY, Bench
from whisper_operator.cluster_protocol import ApiError
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


async def test_the_same_again_asks_and_writes_nothing() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    n_calls = len(bench.cluster.calls)
    for _ in range(5):
        assert await bench.reconcile() == Result()
    assert len(bench.cluster.calls) == n_calls


async def test_after_a_restart_everything_is_applied_once_and_nothing_changes() -> None:
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
async def test_killed_at_any_call_the_end_is_the_same(when: str) -> None:
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
async def test_what_fails_at_any_call_is_made_up_for(error: ApiError, when: str) -> None:
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


async def test_an_api_server_that_is_away_ends_the_attempt_at_once() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(NO_ANSWER)  # type: ignore[assignment]
    assert await bench.reconcile() == Result(failed=True)
    assert len(bench.written()) == 1


async def test_the_server_says_how_long_to_wait() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(TOO_MANY)  # type: ignore[assignment]
    assert await bench.reconcile() == Result(requeue_after_s=7, failed=True)


async def test_one_child_that_fails_does_not_keep_the_others_back() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(SERVER_ERROR, "NetworkPolicy")  # type: ignore[assignment]
    outcome = await bench.reconcile()
    assert outcome.failed
    assert list(bench.children()) == [name for name in PLAIN if not name.startswith("NetworkPolicy")]
    assert bench.endpoint()["status"]["observedGeneration"] == 1


async def test_what_is_refused_is_told_and_tried_again_ever_more_rarely() -> None:
    bench = Bench()
    bench.ask()
    bench.cluster.before = failing(FORBIDDEN, "Deployment")  # type: ignore[assignment]
    waits = []
    for bench.elapsed_s in (1000, 1010, 1100, 1300, 3000):
        outcome = await bench.reconcile()
        assert not outcome.failed
        waits.append(outcome.requeue_after_s)
    assert waits == [5, 5, 10, 30, 60]
    assert bench.conditions()["Ready"]["reason"] == "QuotaExceeded"
    assert "exceeded quota: pods" in bench.conditions()["Ready"]["message"]
    bench.cluster.before = lambda method, kind, name: None
    await bench.settle()
    assert list(bench.children()) == PLAIN
    assert bench.conditions()["Ready"]["reason"] != "QuotaExceeded"


async def test_an_endpoint_that_is_gone_or_on_its_way_out_is_left_alone() -> None:
    bench = Bench()
    assert await bench.reconcile() == Result()
    bench.ask(None, deletionTimestamp="2026-01-02T05:00:00Z", finalizers=["example.com/somebody"])
    assert await bench.reconcile() == Result()
    assert bench.cluster.calls == []


async def test_children_of_a_deleted_endpoint_are_not_made_again() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.cluster.calls.clear()
    assert await bench.reconcile() == Result()
    assert bench.cluster.calls == []
    assert bench.children() == {}


async def test_a_status_is_never_written_to_the_successor() -> None:
    bench = Bench()
    bench.ask()
    seen = bench.cluster.watch
    bench.cluster.watch = lambda type_, document: None
    bench.cluster.remove("WhisperEndpoint", *KEY)
    bench.ask()
    bench.cluster.watch = seen
    await bench.reconcile()
    assert "status" not in bench.endpoint()


async def test_what_is_not_wished_for_any_more_is_deleted() -> None:
    bench = Bench()
    bench.ask(RICH)
    await bench.settle()
    more = ["HorizontalPodAutoscaler/speech", "Ingress/speech", "PersistentVolumeClaim/speech-cache"]
    assert list(bench.children()) == sorted([*PLAIN, *more])
    bench.ask()
    await bench.settle()
    assert list(bench.children()) == PLAIN
    assert sorted(bench.cluster.called("delete")) == more


async def test_an_edit_is_put_back_and_a_field_that_nobody_asked_for_is_left_alone() -> None:
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


async def test_a_field_that_others_fill_in_is_no_reason_to_apply() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    live = bench.cluster.objects["Deployment", *KEY]
    bench.cluster.put({**live, "status": {"readyReplicas": 1}, "spec": {**live["spec"], "minReadySeconds": 0}})
    bench.cluster.calls.clear()
    await bench.settle()
    assert bench.cluster.called("apply") == []


async def test_what_is_deleted_comes_back() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    bench.cluster.remove("Service", *KEY)
    await bench.settle()
    assert list(bench.children()) == PLAIN


async def test_a_quarrel_is_carried_on_ever_more_slowly() -> None:
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
        outcome = await bench.reconcile()
        n_applies.append(len(bench.cluster.called("apply")))
        assert n_applies[-1] or outcome.requeue_after_s
    assert n_applies[0] == 1
    assert sum(n_applies) < 20
    bench.elapsed_s += 1000
    await bench.settle()
    assert bench.cluster.objects["Deployment", *KEY]["spec"]["replicas"] == 1


async def test_a_name_that_is_taken_is_left_alone_and_told() -> None:
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
    outcome = await bench.reconcile()
    assert outcome == Result(requeue_after_s=5)
    assert bench.cluster.objects["Service", *KEY] == theirs
    assert bench.conditions()["Ready"]["reason"] == "NameTaken"
    assert "Deployment/speech" in bench.children()
    bench.cluster.remove("Service", *KEY)
    await bench.settle()
    assert bench.conditions()["Ready"]["reason"] != "NameTaken"


@pytest.mark.parametrize(("kind", "name"), [("PersistentVolumeClaim", "speech-cache"), ("ServiceAccount", "speech")])
async def test_no_pod_uses_what_is_somebody_elses(kind: str, name: str) -> None:
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


async def test_a_deployment_is_left_as_it_is_while_its_new_claim_is_somebody_elses() -> None:
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


async def test_children_of_a_predecessor_are_waited_for() -> None:
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


async def test_orphans_with_our_labels_are_taken_up() -> None:
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


async def test_of_two_endpoints_on_one_route_the_older_has_it() -> None:
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


async def test_a_spec_that_cannot_be_read_leaves_the_children_alone() -> None:
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


async def test_events_are_told_once() -> None:
    bench = Bench()
    bench.ask({"access": {"apiKeysSecretRef": {"name": "keys"}}})
    for _ in range(3):
        await bench.reconcile()
    assert [event["reason"] for event in bench.cluster.events].count("SecretMissing") == 1


async def test_a_quarrel_may_go_on_for_days() -> None:
    bench = Bench()
    bench.ask()
    await bench.settle()
    for _ in range(1100):
        bench.elapsed_s += 60
        live = bench.cluster.objects["Deployment", *KEY]
        bench.cluster.put({**live, "spec": {**live["spec"], "replicas": 5}})
        await bench.reconcile()
        assert bench.cluster.objects["Deployment", *KEY]["spec"]["replicas"] == 1


async def test_a_right_that_the_operator_lacks_is_told_in_the_status() -> None:
    bench = Bench()
    bench.ask()
    error = ApiError(403, "Forbidden", 'User "x" cannot get resource "deployments"')
    bench.cluster.before = failing(error, "Deployment", method="get")  # type: ignore[assignment]
    assert not (await bench.reconcile()).failed
    assert bench.conditions()["Ready"]["reason"] == "Forbidden"
    assert "Deployment/speech" not in bench.children()


async def test_a_newer_spec_that_the_answer_is_the_first_to_tell_of_is_looked_at_at_once() -> None:
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


async def test_what_it_has_written_itself_is_no_reason_to_look_again() -> None:
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
