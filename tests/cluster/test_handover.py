"""Two operators share the work by a Lease: one works, the other waits, and takes over when the first is gone."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster_kit.cluster import Cluster
from operator_kit.end_state import wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import installed_crd
from operator_kit.operator_process import OperatorProcess
from suite_kit.slow import SLOW

LEASE_S = 8.0
SLACK_S = 3.0
"""For a busy machine: what is counted is when the other one says that it leads."""


@pytest.fixture(scope="module", autouse=True)
def crd(cluster: Cluster) -> Iterator[None]:
    with installed_crd(cluster):
        yield


@pytest.fixture
def two(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """The first leads, the second waits."""
    settings = {"LEASE_NAME": namespace, "LEASE_SECONDS": str(LEASE_S)}
    first, second = (OperatorProcess(cluster.kubeconfig, tmp_path / name, settings) for name in ("first", "second"))
    with ExitStack() as stack:
        for operator in (first, second):
            stack.callback(operator.kill)
            operator.start()
            operator.wait("up", lambda operator=operator: operator.ask("/readyz")[0] == 200)  # type: ignore[misc]
            if operator is first:
                first.wait_until_leading()
        second.wait("waiting", lambda: any(line.startswith("standby: lease held by") for line in second.messages()))
        yield first, second
    cluster.delete("lease", namespace)


def works(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.apply(make_endpoint({"gpu": {"class": "none"}}, name=name, namespace=namespace))
    wait_until_ready(cluster, namespace, name)


def test_one_that_waits_answers_its_probes_and_does_nothing(
    cluster: Cluster, namespace: str, two: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = two
    works(cluster, namespace, "speech")
    assert (second.ask("/healthz"), second.ask("/readyz")) == ((200, "ok\n"), (200, "ok\n"))
    assert (first.leads, second.leads) == (True, False)
    assert sum(n for (name, _), n in second.metrics().items() if name == "applies_total") == 0


def test_killed_the_other_takes_over_within_the_lease(
    cluster: Cluster, namespace: str, two: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = two
    first.kill()
    started_s = time.monotonic()
    second.wait("leading", lambda: second.leads, LEASE_S + SLACK_S)
    assert time.monotonic() - started_s < LEASE_S + SLACK_S * SLOW
    works(cluster, namespace, "speech")


def test_asked_to_stop_it_hands_over_at_once(
    cluster: Cluster, namespace: str, two: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = two
    assert first.stop() == 0
    second.wait("leading", lambda: second.leads, 1 + SLACK_S)
    works(cluster, namespace, "speech")


def test_one_that_was_frozen_ends_when_it_wakes(
    cluster: Cluster, namespace: str, two: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = two
    assert first.popen is not None
    first.popen.send_signal(signal.SIGSTOP)
    second.wait("leading", lambda: second.leads, LEASE_S + SLACK_S)
    first.popen.send_signal(signal.SIGCONT)
    assert first.popen.wait(10) == 1
    assert any("lost the lease" in message for message in first.messages())
    assert second.leads
    works(cluster, namespace, "speech")
