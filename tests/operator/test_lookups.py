"""What is looked up for endpoints, and for how long it is believed."""

from __future__ import annotations

from typing import Any

from operator_kit.reconciling import KEY, Bench
from whisper_operator.store import Key

OTHER = Key(KEY.namespace, "other")


def shared_secret(*keys: str) -> dict[str, Any]:
    data = dict.fromkeys(keys, "eA==")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": KEY.namespace, "name": "shared"},
        "data": data,
    }


async def test_a_secret_that_two_endpoints_share_has_keys_for_each() -> None:
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


async def test_a_secret_that_was_deleted_is_missed_before_the_next_drift_check() -> None:
    bench = Bench()
    bench.cluster.put(shared_secret("token"))
    bench.ask({"model": {"id": "a/b", "tokenSecretRef": {"name": "shared", "key": "token"}}})
    outcome = await bench.settle()
    assert outcome.again_s is not None
    assert outcome.again_s <= 10 < bench.settings.drift_seconds
    bench.cluster.remove("Secret", KEY.namespace, "shared")
    bench.elapsed_s += outcome.again_s
    await bench.settle()
    assert bench.conditions()["Ready"]["reason"] == "SecretMissing"
