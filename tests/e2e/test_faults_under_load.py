"""What dies without a warning under load: a client with its own two retries loses nothing, and what only manages the
cluster is not missed by clients at all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from cluster_kit.cluster import Document
from cluster_kit.namespaces import fresh_namespace
from cluster_kit.reading import container, is_ready
from e2e_kit.ground import SYSTEM, Ground
from e2e_kit.steady import OVER_S, Steady, first_of, seconds
from e2e_kit.traffic import DEFAULT_RETRIES, Quiet, flowing

OUTAGE_S = float(os.environ.get("WHISPER_OUTAGE_SECONDS", "25"))
"""Of the API server: longer than a Lease holds, which is 15 s; 60 s in `make test-all`."""
NOBODY_TELLS_S = 60.0
"""Patience of clients where a pod's network may be gone before its connections end: the proxy does not hear of it."""
Figure = Callable[[str], None]
pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time to start pods


@pytest.fixture(scope="module")
def started(operator: Ground) -> Iterator[Steady]:
    with fresh_namespace(operator.cluster) as namespace:
        steady = Steady(operator.cluster, namespace, origin=operator.origin)
        steady.up({"replicas": 2})
        yield steady


@pytest.fixture
def steady(started: Steady) -> Steady:
    started.settled()
    return started


@pytest.fixture
def expected(started: Steady, quiet: Quiet) -> Mapping[str, str]:
    return quiet.texts(started)


def test_a_server_is_killed(steady: Steady, expected: Mapping[str, str], operator: Ground, figure: Figure) -> None:
    pod = steady.settled()[0]
    with flowing(steady, expected, max_retries=DEFAULT_RETRIES) as traffic:
        os.kill(first_of(operator.node.pids(pod)), signal.SIGKILL)
        took_s = steady.wait_for_restart(pod)
    figure(f"SIGKILL of a server: ready again after {took_s:.1f} s; {traffic}")
    traffic.assert_nothing_lost()


@pytest.mark.before_release(because="a pod of which the shim dies is replaced as one of which the server dies")
def test_a_containerd_shim_is_killed(
    steady: Steady, expected: Mapping[str, str], operator: Ground, figure: Figure
) -> None:
    pod = steady.settled()[0]
    with flowing(steady, expected, max_retries=DEFAULT_RETRIES, answer_s=NOBODY_TELLS_S) as traffic:
        os.kill(operator.node.shim(pod), signal.SIGKILL)
        took_s = steady.wait_for_restart(pod)
    figure(f"SIGKILL of a containerd shim: ready again after {took_s:.1f} s; {traffic}")
    traffic.assert_nothing_lost()


def test_the_operator_is_killed(steady: Steady, expected: Mapping[str, str], operator: Ground, figure: Figure) -> None:
    pod = _operator_pod(operator)
    with flowing(steady, expected) as traffic:
        os.kill(first_of(operator.node.pids(pod)), signal.SIGKILL)
        took_s = seconds(lambda: _reconciles(steady, "killed"))
    figure(f"SIGKILL of the operator: at work again after {took_s:.1f} s; {traffic}")
    traffic.assert_nothing_lost()
    assert container(_operator_pod(operator))["restartCount"] == container(pod)["restartCount"] + 1


def test_the_api_server_is_away(steady: Steady, expected: Mapping[str, str], operator: Ground, figure: Figure) -> None:
    with flowing(steady, expected) as traffic:
        operator.cluster.stop()
        try:
            time.sleep(OUTAGE_S)
        finally:
            operator.cluster.start()
        took_s = seconds(lambda: _reconciles(steady, "away"))
        steady.settled()
    figure(f"API server away for {OUTAGE_S:g} s: the operator at work again {took_s:.1f} s after it; {traffic}")
    traffic.assert_nothing_lost()


@pytest.mark.before_release(because="no server of ours has a part in it")
def test_the_kubelet_restarts(steady: Steady, expected: Mapping[str, str], operator: Ground, figure: Figure) -> None:
    before = [container(pod).get("containerID") for pod in steady.settled()]
    with flowing(steady, expected) as traffic:
        operator.cluster.stop("kubelet")
        time.sleep(3)
        operator.cluster.start("kubelet")
        operator.cluster.wait(
            lambda: is_ready(operator.cluster.get("node", operator.node.name)), OVER_S, "the node is ready"
        )
        time.sleep(10)  # for probes to have been asked again
        after = [container(pod).get("containerID") for pod in steady.settled()]
    figure(f"kubelet restarted: {traffic}")
    assert after == before
    traffic.assert_nothing_lost()


def _operator_pod(ground: Ground) -> Document:
    (pod,) = ground.cluster.find("pods", SYSTEM, "app.kubernetes.io/component=operator")
    return pod


def _reconciles(steady: Steady, why: str) -> None:
    """Until a change that restarts no pod has come through the operator."""

    def is_through() -> bool:
        steady.change({"service": {"annotations": {"example.com/why": why}}})
        service = steady.cluster.get("service", steady.name, steady.namespace)
        return bool(service["metadata"].get("annotations", {}).get("example.com/why") == why)

    steady.cluster.wait(is_through, OVER_S, "the operator writes what is asked for")
