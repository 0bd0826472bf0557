"""The API server is away, the wire is cut or dead, the CRD vanishes, a kind appears: the operator comes back by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart_kit.other_kinds import other_kinds
from cluster_kit.cluster import Cluster
from operator_kit.end_state import children, wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import installed_crd
from operator_kit.operator_process import OperatorProcess
from operator_kit.wire import Wire
from suite_kit.slow import SLOW
from whisper_operator.names import CRD_NAME
from whisper_operator.resource.crd import make_crd

COMES_BACK_S = 60.0
GARBAGE_S = 60.0
STOP_S = 5.0
PATIENT = {"LEASE_SECONDS": "60"}
"""The wire works again before the Lease is lost: otherwise a restart would hide the fault."""
SERVICE = "Service/speech"


@pytest.fixture(scope="module", autouse=True)
def crd(cluster: Cluster) -> Iterator[None]:
    with installed_crd(cluster):
        yield


@pytest.fixture
def wire(cluster: Cluster) -> Iterator[Wire]:
    with Wire(cluster.server).laid() as wire:
        yield wire


def make(cluster: Cluster, namespace: str) -> None:
    cluster.apply(make_endpoint({"gpu": {"class": "none"}}, name="speech", namespace=namespace))


def comes_back(cluster: Cluster, namespace: str, limit_s: float = COMES_BACK_S) -> None:
    """A Service is deleted by hand, and the operator makes it again."""
    cluster.delete("service", "speech", namespace=namespace)
    cluster.wait(lambda: SERVICE in children(cluster, namespace), limit_s, "the Service is back")


def at_work(cluster: Cluster, wire: Wire) -> None:
    """Every watch has its connection, also those that were longest in their back-off."""
    cluster.wait(lambda: wire.n_open > 10, COMES_BACK_S, "all watches are connected")


@pytest.mark.before_release(because="an API server that is away for longer than the lease restarts too")
def test_the_api_server_restarts(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with OperatorProcess(cluster.kubeconfig, tmp_path).kept_running() as operator:
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        cluster.restart_apiserver()
        comes_back(cluster, namespace)
        operator.wait_until_leading()
        assert operator.ask("/healthz") == (200, "ok\n")


def test_the_api_server_is_away_for_longer_than_the_lease(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with OperatorProcess(cluster.kubeconfig, tmp_path).kept_running() as operator:
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        cluster.stop()
        try:
            before = operator.starts
            # It must not go on without its Lease; and it must not restart in a loop while the API server is away.
            operator.wait("restarted", lambda: operator.starts > before)
            operator.wait("alive", lambda: operator.ask("/healthz")[0] == 200)
            time.sleep(5)
            assert operator.starts == before + 1
            status, said = operator.ask("/readyz")
            assert (status, "does not answer" in said) == (503, True)
        finally:
            cluster.start()
        comes_back(cluster, namespace)


def test_all_connections_are_cut(cluster: Cluster, namespace: str, wire: Wire, tmp_path: Path) -> None:
    with OperatorProcess(wire.kubeconfig(cluster.kubeconfig, tmp_path), tmp_path, PATIENT).running():
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        for _ in range(3):
            at_work(cluster, wire)
            assert wire.cut() > 10
            comes_back(cluster, namespace, limit_s=20)


@pytest.mark.before_release(because="connections that are cut show the same list and watch again")
def test_all_connections_go_dead(cluster: Cluster, namespace: str, wire: Wire, tmp_path: Path) -> None:
    with OperatorProcess(wire.kubeconfig(cluster.kubeconfig, tmp_path), tmp_path, PATIENT).running():
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        at_work(cluster, wire)
        assert wire.go_dead() > 10
        comes_back(cluster, namespace)


def test_asked_to_stop_it_ends_in_time_and_gives_the_lease_back(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    operator = OperatorProcess(cluster.kubeconfig, tmp_path, {"LEASE_NAME": namespace})
    operator.start()
    operator.wait_until_leading()
    assert cluster.get("lease", namespace)["spec"]["holderIdentity"] != ""
    started_s = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - started_s < STOP_S * SLOW
    assert cluster.get("lease", namespace)["spec"]["holderIdentity"] == ""
    assert operator.messages()[-1] == "shutdown complete"
    cluster.delete("lease", namespace)


def test_what_was_deleted_meanwhile_stays_deleted(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    operator = OperatorProcess(cluster.kubeconfig, tmp_path)
    with operator.running():
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
    cluster.delete("wep", "speech", namespace=namespace)
    with operator.running():
        cluster.wait(lambda: not children(cluster, namespace), GARBAGE_S, "all children are gone")
        time.sleep(3)
        assert children(cluster, namespace) == {}


def test_the_crd_is_deleted_and_created_again(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with OperatorProcess(cluster.kubeconfig, tmp_path).kept_running() as operator:
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        # Garbage collection knows the kind by then: of one that it never knew it would not see the end.
        cluster.delete("wep", "speech", namespace=namespace)
        cluster.wait(lambda: not children(cluster, namespace), GARBAGE_S, "all children are gone")
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        before = operator.starts
        cluster.delete("crd", CRD_NAME)
        try:
            operator.wait("restarted", lambda: operator.starts > before)
            operator.wait("waiting for the CRD", lambda: "is the CRD installed?" in operator.ask("/readyz")[1])
            assert operator.ask("/readyz")[0] == 503
            assert operator.codes[-1] == 0
            assert operator.ask("/healthz") == (200, "ok\n")
            cluster.wait(lambda: not children(cluster, namespace), GARBAGE_S, "all children are gone")
        finally:
            cluster.apply(make_crd())
        operator.wait_until_leading()
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")


def test_a_kind_appears(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with OperatorProcess(cluster.kubeconfig, tmp_path).kept_running() as operator:
        make(cluster, namespace)
        wait_until_ready(cluster, namespace, "speech")
        before = operator.starts
        with other_kinds(cluster):
            operator.wait("restarted", lambda: operator.starts > before)
            cluster.wait(
                lambda: cluster.find("podmonitors.monitoring.coreos.com", namespace),
                COMES_BACK_S,
                "a PodMonitor is made",
            )
            assert operator.codes[-1] == 0
