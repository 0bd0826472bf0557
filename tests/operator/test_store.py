from typing import Any

import pytest

from whisper_operator.names import ENDPOINT_LABEL
from whisper_operator.reconcile.store import GONE_REMEMBERED, Identity, Key, Store, is_newer, owner_of
from whisper_operator.snapshot import ChildKey

KEY = Key("team-a", "speech")


def document(kind: str, name: str, version: int = 1, uid: str = "", **metadata: Any) -> dict[str, Any]:
    identity = {"namespace": "team-a", "name": name, "uid": uid or f"{kind}-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**identity, **metadata}}


def owned(kind: str, name: str, version: int = 1, **metadata: Any) -> dict[str, Any]:
    owner = {"apiVersion": "whisper-operator.io/v1alpha1", "kind": "WhisperEndpoint", "name": "speech", "uid": "e"}
    return document(kind, name, version, ownerReferences=[{**owner, "controller": True}], **metadata)


def labelled(kind: str, name: str, endpoint: str = "speech", version: int = 1, **metadata: Any) -> dict[str, Any]:
    return document(kind, name, version, labels={ENDPOINT_LABEL: endpoint}, **metadata)


def identity(kind: str, name: str) -> Identity:
    return Identity(kind, "team-a", name)


def test_children_are_found_by_their_endpoint() -> None:
    store = Store()
    assert store.put(document("WhisperEndpoint", "speech")) == {KEY}
    assert store.put(owned("Deployment", "speech")) == {KEY}
    assert store.put(labelled("Service", "speech")) == {KEY}
    assert store.put(labelled("Pod", "speech-1")) == {KEY}
    assert store.put(document("Secret", "other")) == set()
    assert list(store.endpoints()) == [KEY]
    assert store.endpoint(KEY) == document("WhisperEndpoint", "speech")
    assert store.children(KEY) == {
        ChildKey("Deployment", "speech"): owned("Deployment", "speech"),
        ChildKey("Service", "speech"): labelled("Service", "speech"),
    }
    assert store.pods(KEY) == (labelled("Pod", "speech-1"),)
    assert store.endpoint(Key("team-b", "speech")) is None


def test_pods_are_sorted_by_age() -> None:
    store = Store()
    for name, created_at in (
        ("b", "2026-01-02T00:00:02Z"),
        ("c", "2026-01-02T00:00:01Z"),
        ("a", "2026-01-02T00:00:02Z"),
    ):
        store.put(labelled("Pod", name, creationTimestamp=created_at))
    assert [pod["metadata"]["name"] for pod in store.pods(KEY)] == ["c", "a", "b"]


def test_managed_fields_are_not_stored() -> None:
    store = Store()
    store.put(owned("Deployment", "speech", managedFields=[{"manager": "x"}]))
    assert store.children(KEY)[ChildKey("Deployment", "speech")] == owned("Deployment", "speech")


def test_older_version_is_ignored() -> None:
    store = Store()
    store.put(owned("Deployment", "speech", 10))
    n_changes = store.changes(KEY)
    assert store.put(owned("Deployment", "speech", 10)) == set()
    assert store.put(owned("Deployment", "speech", 9)) == set()
    assert store.changes(KEY) == n_changes
    assert store.put(owned("Deployment", "speech", 11, annotations={"a": "b"})) == {KEY}
    assert store.changes(KEY) > n_changes


SLICE: dict[str, Any] = {
    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
    "ports": [{"port": 8000}],
}
POD: dict[str, Any] = {
    "spec": {"nodeName": "a", "containers": [{"name": "server", "image": "i", "env": [{"name": "A", "value": "1"}]}]},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("kind", "before", "after", "is_change"),
    [
        ("Deployment", {"metadata": {"managedFields": [1]}}, {"metadata": {"managedFields": [2]}}, False),
        ("Deployment", {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}, True),
        ("Deployment", {}, {"metadata": {"annotations": {"a": "b"}}}, True),
        ("EndpointSlice", SLICE, {**SLICE, "metadata": {"annotations": {"last-change": "now"}}}, False),
        ("EndpointSlice", SLICE, {"endpoints": [{**SLICE["endpoints"][0], "addresses": ["10.0.0.2"]}]}, False),
        ("EndpointSlice", SLICE, {"endpoints": [{"conditions": {"ready": False}}]}, True),
        ("EndpointSlice", SLICE, {**SLICE, "metadata": {"deletionTimestamp": "now"}}, True),
        ("Pod", POD, {**POD, "spec": {**POD["spec"], "volumes": [{"name": "a"}]}}, False),
        ("Pod", POD, {**POD, "spec": {**POD["spec"], "nodeName": "b"}}, True),
        ("Pod", POD, {**POD, "status": {"phase": "Failed"}}, True),
    ],
)
def test_only_a_change_of_what_is_read_counts(
    kind: str, before: dict[str, Any], after: dict[str, Any], *, is_change: bool
) -> None:
    def versioned(version: int, fields: dict[str, Any]) -> dict[str, Any]:
        made = labelled(kind, "speech", version=version)
        return {**made, **fields, "metadata": {**made["metadata"], **fields.get("metadata", {})}}

    store = Store()
    assert store.put(versioned(1, before)) == {KEY}
    n_changes = store.changes(KEY)
    assert store.put(versioned(2, after)) == ({KEY} if is_change else set())
    assert (store.changes(KEY) > n_changes) is is_change
    found = store.cached(*identity(kind, "speech"))
    assert found is not None
    assert found.document["metadata"]["resourceVersion"] == "2"  # of the next merge patch
    assert store.put(versioned(2, {})) == set()


def test_readiness_follows_the_condition() -> None:
    store = Store()
    endpoint = document("WhisperEndpoint", "speech")
    store.put(endpoint)
    assert store.readiness() == {KEY: ("Unknown", "")}
    ready = {"type": "Ready", "status": "True", "reason": "Ready"}
    store.put(document("WhisperEndpoint", "speech", 2) | {"status": {"conditions": [ready]}})
    assert store.readiness() == {KEY: ("True", "Ready")}
    store.remove(identity("WhisperEndpoint", "speech"), "WhisperEndpoint-speech", "3")
    assert store.readiness() == {}


def test_late_event_of_a_deleted_object_is_ignored() -> None:
    store = Store()
    store.put(owned("Deployment", "speech", 10))
    assert store.remove(identity("Deployment", "speech"), "Deployment-speech", "12") == {KEY}
    assert store.put(owned("Deployment", "speech", 11)) == set()
    assert store.children(KEY) == {}


def test_object_that_regains_its_labels_is_stored_again() -> None:
    store = Store()
    store.put(owned("Deployment", "speech", 10))
    store.remove(identity("Deployment", "speech"), "Deployment-speech", "11")
    assert store.put(owned("Deployment", "speech", 12)) == {KEY}
    assert list(store.children(KEY)) == [ChildKey("Deployment", "speech")]


def test_deletion_of_a_predecessor_keeps_its_successor() -> None:
    store = Store()
    store.put(document("Deployment", "speech", 20, uid="new", labels={ENDPOINT_LABEL: "speech"}))
    assert store.remove(identity("Deployment", "speech"), "old", "19") == set()
    assert list(store.children(KEY)) == [ChildKey("Deployment", "speech")]


def test_successor_replaces_its_predecessor_whatever_the_versions() -> None:
    store = Store()
    store.put(document("WhisperEndpoint", "speech", 20, uid="old"))
    assert store.put(document("WhisperEndpoint", "speech", 3, uid="new")) == {KEY}
    assert (store.endpoint(KEY) or {})["metadata"]["uid"] == "new"


def test_object_that_changes_its_owner_affects_both() -> None:
    store = Store()
    store.put(labelled("Service", "a", "speech", 1))
    assert store.put(labelled("Service", "a", "other", 2)) == {KEY, Key("team-a", "other")}
    assert store.children(KEY) == {}


def test_owner_reference_outranks_the_label() -> None:
    child = owned("Service", "a")
    child["metadata"]["labels"] = {ENDPOINT_LABEL: "other"}
    assert owner_of(child) == KEY


def test_only_a_controlling_endpoint_counts_as_owner() -> None:
    for reference in (
        {"apiVersion": "apps/v1", "kind": "WhisperEndpoint", "name": "speech", "controller": True},
        {"apiVersion": "whisper-operator.io/v1", "kind": "Other", "name": "speech", "controller": True},
        {"apiVersion": "whisper-operator.io/v1", "kind": "WhisperEndpoint", "name": "speech"},
    ):
        assert owner_of(document("Service", "a", ownerReferences=[reference])) is None


def test_deleted_objects_use_no_memory() -> None:
    store = Store()
    for number in range(GONE_REMEMBERED + 10):
        name = f"wep-{number}"
        store.put(document("WhisperEndpoint", name))
        store.remove(identity("WhisperEndpoint", name), f"WhisperEndpoint-{name}", "1")
        store.forget(Key("team-a", name))
    assert list(store.endpoints()) == []
    assert len(store._gone) == GONE_REMEMBERED
    assert not store._of
    assert not store._changes
    assert not store._objects
    assert not store._readiness


def test_resource_versions_are_compared_as_numbers() -> None:
    assert is_newer("100", "99")
    assert not is_newer("99", "100")
    assert not is_newer("99", "99")
    assert is_newer("b", "a")
    assert not is_newer("a", "a")
