"""Mistakes in a spec: a condition names them, earlier pods go on serving, and the endpoint is Ready once they are corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster_kit.cluster import Document
from cluster_kit.namespaces import fresh_namespace
from e2e_kit import hub
from e2e_kit.ground import Ground
from e2e_kit.hub import Hub
from e2e_kit.served import Served
from e2e_kit.traffic import Quiet, flowing
from operator_kit.endpoints import merged

SAYS_S = 90.0
"""Until the condition tells what is wrong."""
TWO: Document = {"replicas": 2}


@dataclass(frozen=True)
class Endpoints:
    """All that these tests spoil, come up side by side."""

    renamed: Served
    starved: Served
    unlocked: Served
    hub: Hub


@pytest.fixture(scope="module")
def model_hub(operator: Ground) -> Iterator[Hub]:
    with hub.running(operator.node.host_address) as found:
        yield found


@pytest.fixture(scope="module")
def endpoints(operator: Ground, model_hub: Hub) -> Iterator[Endpoints]:
    cluster = operator.cluster
    with fresh_namespace(cluster) as namespace:
        names = ("renamed", "starved", "unlocked")
        renamed, starved, unlocked = (Served(cluster, namespace, name, origin=operator.origin) for name in names)
        cluster.apply(_keys(namespace))
        renamed.apply(TWO)
        starved.apply(TWO)
        unlocked.apply({"access": {"apiKeysSecretRef": {"name": "keys"}}})
        for each in (renamed, starved, unlocked):
            each.wait_until_current()
        yield Endpoints(renamed, starved, unlocked, model_hub)


@pytest.fixture
def fresh(operator: Ground, namespace: str, model_hub: Hub) -> tuple[Served, Hub]:
    """An endpoint that is not there yet."""
    return Served(operator.cluster, namespace, origin=operator.origin), model_hub


def _keys(namespace: str) -> Document:
    metadata = {"name": "keys", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"somebody": "the-right-key"}}


def _from(url: str, model: str, **more: Any) -> Document:
    return merged({"model": {"id": model}, "pod": {"env": [{"name": "HF_ENDPOINT", "value": url}]}}, more)


@contextmanager
def traffic_through(endpoint: Served, quiet: Quiet) -> Iterator[None]:
    """Meanwhile, clients are answered: every one of them, and rightly."""
    with flowing(endpoint, quiet.texts(endpoint), clients=2) as traffic:
        yield
    traffic.assert_nothing_lost()


def _spoilt(endpoint: Served, spec: Mapping[str, Any], reason: str) -> str:
    """Apply it, wait until Ready says this reason while the old pods serve; the message."""
    before = {pod["metadata"]["uid"] for pod in endpoint.ready_pods()}
    endpoint.apply(spec)
    told = endpoint.expect(SAYS_S, Ready=f"False {reason}", Available="True Available", Progressing=f"False {reason}")
    assert {pod["metadata"]["uid"] for pod in endpoint.ready_pods()} == before
    assert "serve with earlier settings" in told["Ready"]
    return told["Ready"]


def test_a_model_that_is_not_there(endpoints: Endpoints, quiet: Quiet) -> None:
    endpoint, url = endpoints.renamed, endpoints.hub.url
    with traffic_through(endpoint, quiet):
        message = _spoilt(endpoint, _from(url, "team/nothing", **TWO), "CrashLoopBackOff")
        assert "team/nothing" in message
        assert "Repository Not Found" in message
        assert "MODEL_ID is model.id" in message
        endpoint.up(TWO)


def test_a_memory_limit_that_is_too_small(endpoints: Endpoints, quiet: Quiet) -> None:
    endpoint = endpoints.starved
    small = {"pod": {"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}}}, **TWO}
    with traffic_through(endpoint, quiet):
        message = _spoilt(endpoint, small, "CrashLoopBackOff")
        assert "memory limit of 64 MiB leaves 0 MiB" in message
        assert "pod.resources.limits.memory" in message
        endpoint.up(TWO)


def test_a_key_secret_that_vanishes(endpoints: Endpoints) -> None:
    """Pods that run keep the keys that they have."""
    endpoint = endpoints.unlocked
    endpoint.cluster.delete("secret", "keys", namespace=endpoint.namespace)
    message = endpoint.expect(SAYS_S, Ready="False SecretMissing", Available="True Available")["Ready"]
    assert "Secret keys is not there" in message
    assert "access.apiKeysSecretRef" in message
    assert "kubectl create secret generic keys" in message
    assert _status(endpoint, "the-right-key") == 200
    assert _status(endpoint, "no-key") == 401
    endpoint.cluster.apply(_keys(endpoint.namespace))
    endpoint.expect(SAYS_S, Ready="True Ready")
    assert _status(endpoint, "the-right-key") == 200


def _status(endpoint: Served, key: str) -> int:
    return httpx.get(f"{endpoint.base_url}/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_model_that_is_not_public(fresh: tuple[Served, Hub]) -> None:
    endpoint, model_hub = fresh
    endpoint.apply(_from(model_hub.url, hub.PRIVATE_MODEL))
    message = endpoint.expect(SAYS_S, Ready="False CrashLoopBackOff")["Ready"]
    assert "You must be authenticated" in message
    assert "HF_TOKEN is model.tokenSecretRef" in message
    endpoint.apply(merged(_from(model_hub.url, hub.PRIVATE_MODEL), {"model": {"tokenSecretRef": {"name": "hub"}}}))
    message = endpoint.expect(SAYS_S, Ready="False SecretMissing")["Ready"]
    assert "Secret hub is not there" in message
    metadata = {"name": "hub", "namespace": endpoint.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": hub.TOKEN}}
    endpoint.cluster.apply(secret)
    endpoint.wait_until_current()


def test_a_hub_that_cannot_be_reached(fresh: tuple[Served, Hub], operator: Ground) -> None:
    endpoint, model_hub = fresh
    endpoint.apply(_from(f"http://{operator.node.host_address}:9", hub.MODEL))
    message = endpoint.expect(SAYS_S, Ready="False CrashLoopBackOff")["Ready"]
    assert "Connection refused" in message
    assert "the network" in message
    endpoint.up(_from(model_hub.url, hub.MODEL))


def test_a_folder_that_is_not_in_the_pod(fresh: tuple[Served, Hub]) -> None:
    endpoint, _ = fresh
    endpoint.apply({"model": {"id": "/models/mine"}})
    message = endpoint.expect(SAYS_S, Ready="False CrashLoopBackOff")["Ready"]
    assert "/models/mine is no folder here" in message
    assert "MODEL_ID is model.id" in message
    endpoint.up()
