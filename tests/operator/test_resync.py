from collections.abc import Callable
from typing import Any

import pytest

from operator_kit.memory_cluster import MemoryCluster
from whisper_operator.kinds import ENDPOINT, kind_of
from whisper_operator.metrics import Metrics
from whisper_operator.names import ENDPOINT_LABEL, FIELD_MANAGER, MANAGED_BY_LABEL
from whisper_operator.reconcile.resync import SETTLE_S, Resync, selector_of
from whisper_operator.reconcile.store import Identity, Key, Store

SERVICE = kind_of("v1", "Service")
KEY = Key("team-a", "speech")
LABELS = {ENDPOINT_LABEL: "speech", MANAGED_BY_LABEL: FIELD_MANAGER}


def endpoint(name: str = "speech", namespace: str = "team-a") -> dict[str, Any]:
    return {
        "apiVersion": ENDPOINT.api_version,
        "kind": ENDPOINT.kind,
        "metadata": {"namespace": namespace, "name": name},
    }


def service(name: str = "speech", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "team-a", "name": name, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, **more}


class Bench:
    """A cluster, and a store that was filled from it and has received no event since."""

    def __init__(self, *namespaces: str) -> None:
        self.cluster = MemoryCluster()
        self.store = Store()
        self.metrics = Metrics()
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.resync = Resync(
            self.cluster,
            self.store,
            self.metrics,
            kinds=[ENDPOINT, SERVICE],
            namespaces=namespaces,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()

    def n_missed(self, kind: str) -> float:
        return self.metrics.registry.get_sample_value("whisper_operator_missed_events_total", {"kind": kind}) or 0


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.cluster.put(endpoint())
    bench.cluster.put(service())
    await bench.resync.fill()
    return bench


async def test_fill_lists_everything_into_the_store(bench: Bench) -> None:
    assert list(bench.store.endpoints()) == [KEY]
    assert bench.store.endpoint(KEY) == bench.cluster.objects["WhisperEndpoint", *KEY]
    assert list(bench.store.of_kind("Service")) == [Identity("Service", *KEY)]


async def test_only_watched_namespaces_are_listed() -> None:
    bench = Bench("team-a", "team-b")
    for namespace in ("team-a", "team-b", "team-c"):
        bench.cluster.put(endpoint(namespace=namespace))
    await bench.resync.fill()
    assert [key.namespace for key in bench.store.endpoints()] == ["team-a", "team-b"]


async def test_equal_store_reads_nothing(bench: Bench) -> None:
    bench.cluster.calls.clear()
    assert await bench.resync.compare() == set()
    assert {call[0] for call in bench.cluster.calls} == {"list"}
    assert bench.slept == []


async def test_missed_deletion_is_corrected(bench: Bench) -> None:
    bench.cluster.remove("Service", *KEY)
    assert await bench.resync.compare() == {KEY}
    assert bench.store.of_kind("Service") == {}
    assert bench.slept == [SETTLE_S]
    assert bench.n_missed("Service") == 1


async def test_missed_creation_or_change_is_corrected(bench: Bench) -> None:
    bench.cluster.put(endpoint("other"))
    bench.cluster.put(service(spec={"type": "NodePort"}))
    assert await bench.resync.compare() == {KEY, Key("team-a", "other")}
    assert bench.store.endpoint(Key("team-a", "other")) is not None
    assert bench.store.of_kind("Service")[Identity("Service", *KEY)].document["spec"] == {"type": "NodePort"}


async def test_missed_replacement_is_corrected(bench: Bench) -> None:
    bench.cluster.remove("WhisperEndpoint", *KEY)
    new = bench.cluster.put(endpoint())
    assert await bench.resync.compare() == {KEY}
    assert bench.store.endpoint(KEY) == new


async def test_event_that_arrives_late_was_not_missed(bench: Bench) -> None:
    changed = bench.cluster.put(service(spec={"type": "NodePort"}))
    bench.meanwhile = lambda: bench.store.put(changed)
    bench.cluster.calls.clear()
    assert await bench.resync.compare() == set()
    assert bench.cluster.called("get") == []
    assert bench.n_missed("Service") == 0


async def test_object_without_our_label_is_removed(bench: Bench) -> None:
    bench.cluster.objects["Service", *KEY]["metadata"]["labels"] = {}
    there = bench.cluster.objects.pop(("Service", *KEY))
    bench.meanwhile = lambda: bench.cluster.objects.update({("Service", *KEY): there})
    assert await bench.resync.compare() == {KEY}
    assert bench.store.of_kind("Service") == {}


def test_selector_covers_all_endpoints_and_our_children() -> None:
    assert selector_of(ENDPOINT) == ""
    assert selector_of(SERVICE) == "app.kubernetes.io/managed-by=whisper-operator"
