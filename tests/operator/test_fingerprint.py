from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from whisper_operator.reconcile.drift import correction, digest, fingerprint, projected

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


def test_fields_that_are_not_desired_do_not_count() -> None:
    desired = {"spec": {"replicas": 1, "containers": [{"name": "server", "env": []}]}}
    live = {
        "status": {"ready": 1},
        "spec": {"replicas": 1, "strategy": "x", "containers": [{"name": "server", "env": [], "image": "y"}]},
    }
    assert projected(live, desired) == desired


def test_list_of_another_length_counts_as_a_whole() -> None:
    desired = {"containers": [{"name": "server"}]}
    live = {"containers": [{"name": "server", "image": "a"}, {"name": "sidecar"}]}
    assert projected(live, desired) == live


def test_missing_field_changes_the_fingerprint() -> None:
    assert projected({"spec": {}}, {"spec": {"replicas": 1}}) == {"spec": {}}
    assert projected({}, {"spec": {"replicas": 1}}) == {}


def test_another_json_type_changes_the_fingerprint() -> None:
    assert projected({"spec": None}, {"spec": {"a": 1}}) == {"spec": None}
    assert projected({"spec": [1]}, {"spec": {"a": 1}}) == {"spec": [1]}


def test_order_of_items_counts_and_order_of_keys_does_not() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest({"a": 1}) != digest({"a": "1"})


@given(DOCUMENTS)
def test_projection_on_itself_keeps_everything(document: dict[str, object]) -> None:
    assert projected(document, document) == document


@given(DOCUMENTS, DOCUMENTS)
def test_additional_keys_do_not_change_the_fingerprint(desired: dict[str, object], more: dict[str, object]) -> None:
    live = {**{key: value for key, value in more.items() if key not in desired}, **desired}
    assert fingerprint(live, desired) == fingerprint(desired, desired)


SERVICE: dict[str, Any] = {
    "spec": {"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}
}


def test_equal_lists_and_maps_need_no_correction() -> None:
    live = {
        "spec": {**SERVICE["spec"], "ports": [{**SERVICE["spec"]["ports"][0], "nodePort": 30000}], "type": "NodePort"}
    }
    assert correction(live, SERVICE) == {}


def test_changed_list_is_replaced_and_a_key_too_many_is_removed() -> None:
    live = {
        "spec": {"selector": {"app": "a", "x": "y"}, "ports": [{"name": "http", "port": 81}], "clusterIP": "10.0.0.1"}
    }
    assert correction(live, SERVICE) == {"spec": {"selector": {"x": None}, "ports": SERVICE["spec"]["ports"]}}
    assert fingerprint(live, SERVICE) != fingerprint(SERVICE, SERVICE)


def test_key_too_many_in_a_selector_is_drift() -> None:
    desired = {"spec": {"podSelector": {"matchLabels": {"app": "a"}}}}
    for extra in ({"matchLabels": {"app": "a", "x": "y"}}, {"matchLabels": {"app": "a"}, "matchExpressions": [1]}):
        assert fingerprint({"spec": {"podSelector": extra}}, desired) != fingerprint(desired, desired)
        assert correction({"spec": {"podSelector": extra}}, desired)


def test_normalized_quantity_is_no_surplus_but_a_container_is() -> None:
    desired = {"spec": {"containers": [{"name": "server", "cpu": "0.5"}]}}
    live = {"spec": {"containers": [{"name": "server", "cpu": "500m"}]}}
    assert correction(live, desired, surplus_only=True) == {}
    live["spec"]["containers"].append({"name": "other", "cpu": "1"})
    assert correction(live, desired, surplus_only=True) == desired
