"""What is read for endpoints, and for how long it is cached."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.reconciling import KEY, Bench
from whisper_operator.reconcile.cached_reader import default_of
from whisper_operator.reconcile.store import Key

OTHER = Key(KEY.namespace, "other")
BY_DEFAULT: dict[str, Any] = {"exposure": {"ingress": {"host": "a.example.com"}}}


def default_class(name: str, created_at: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {
            "namespace": "",
            "name": name,
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
            "creationTimestamp": created_at,
        },
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }


def shared_secret(*keys: str) -> dict[str, Any]:
    data = dict.fromkeys(keys, "eA==")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": KEY.namespace, "name": "shared"},
        "data": data,
    }


async def test_shared_secret_is_checked_per_endpoint() -> None:
    bench = Bench()
    bench.cluster.put(shared_secret("token"))
    for key, wanted in ((KEY, "token"), (OTHER, "other")):
        bench.ask({"model": {"id": "a/b", "tokenSecretRef": {"name": "shared", "key": wanted}}}, key)
        await bench.settle(key)
    assert bench.conditions(OTHER)["Ready"]["reason"] == "SecretMissing"
    bench.cluster.put(shared_secret("token", "other"))
    bench.elapsed_s += bench.settings.missing_seconds
    await bench.settle(OTHER)
    assert bench.conditions(OTHER)["Ready"]["reason"] != "SecretMissing"


async def test_key_without_value_is_missing_until_it_has_one() -> None:
    bench = Bench()
    bench.cluster.put(shared_secret("token") | {"data": {"token": ""}})
    bench.ask({"model": {"id": "a/b", "tokenSecretRef": {"name": "shared", "key": "token"}}})
    await bench.settle()
    assert "Key token of Secret shared has no value" in bench.conditions()["Ready"]["message"]
    bench.cluster.put(shared_secret("token"))
    bench.elapsed_s += bench.settings.missing_seconds
    await bench.settle()
    assert bench.conditions()["Ready"]["reason"] != "SecretMissing"


async def test_deleted_secret_is_noticed_before_the_next_resync() -> None:
    bench = Bench()
    bench.cluster.put(shared_secret("token"))
    bench.ask({"model": {"id": "a/b", "tokenSecretRef": {"name": "shared", "key": "token"}}})
    result = await bench.settle()
    assert result.requeue_after_s is not None
    assert result.requeue_after_s <= 10 < bench.settings.drift_seconds
    bench.cluster.remove("Secret", KEY.namespace, "shared")
    bench.elapsed_s += result.requeue_after_s
    await bench.settle()
    assert bench.conditions()["Ready"]["reason"] == "SecretMissing"


async def test_older_ingress_gets_the_new_default_class() -> None:
    bench = Bench()
    bench.ask(BY_DEFAULT)
    await bench.settle()
    assert "ingressClassName" not in bench.cluster.objects["Ingress", *KEY]["spec"]
    assert bench.conditions()["Exposed"]["reason"] == "IngressClassMissing"
    bench.cluster.put(default_class("nginx"))
    bench.elapsed_s += bench.settings.missing_seconds
    await bench.settle()
    assert bench.cluster.objects["Ingress", *KEY]["spec"]["ingressClassName"] == "nginx"
    assert bench.conditions()["Exposed"]["reason"] == "AddressPending"


async def test_ingress_follows_the_default_class() -> None:
    bench = Bench()
    bench.cluster.put(default_class("nginx"))
    bench.ask(BY_DEFAULT)
    await bench.settle()
    bench.cluster.put(default_class("newer", "2026-01-01T00:00:01Z"))
    bench.elapsed_s += bench.settings.missing_seconds
    await bench.settle()
    assert bench.cluster.objects["Ingress", *KEY]["spec"]["ingressClassName"] == "newer"


@pytest.mark.parametrize(
    ("created_at", "taken"),
    [(("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"), "b"), (("2026-01-01T00:00:00Z",) * 2, "a")],
)
def test_newest_of_several_default_classes_counts(created_at: tuple[str, str], taken: str) -> None:
    classes = [default_class(name, at) for name, at in zip("ab", created_at, strict=True)]
    for order in (classes, classes[::-1]):
        found = default_of(order)
        assert found is not None
        assert found["metadata"]["name"] == taken


async def test_deleted_class_is_noticed_before_the_next_resync() -> None:
    bench = Bench()
    bench.cluster.put(default_class("nginx"))
    bench.ask({"exposure": {"ingress": {"host": "a.example.com", "className": "nginx"}}})
    result = await bench.settle()
    assert result.requeue_after_s is not None
    assert result.requeue_after_s <= 10 < bench.settings.drift_seconds
    bench.cluster.remove("IngressClass", "", "nginx")
    bench.elapsed_s += result.requeue_after_s
    await bench.settle()
    assert bench.conditions()["Exposed"]["reason"] == "IngressClassMissing"


async def test_only_a_few_ingress_classes_are_read_per_second() -> None:
    bench = Bench()
    bench.cluster.put(default_class("nginx"))
    keys = [Key(KEY.namespace, f"speech-{number}") for number in range(100)]
    for number, key in enumerate(keys):
        bench.ask({"exposure": {"ingress": {"host": f"{number}.example.com"}}}, key)
        await bench.settle(key)
    result = await bench.settle(keys[0])
    assert result.requeue_after_s == pytest.approx(20)
