"""Pods are replaced, deleted, scaled away and drained under load: no client loses a request, without a single retry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster_kit.namespaces import fresh_namespace
from cluster_kit.reading import is_ready
from e2e_kit.ground import Ground
from e2e_kit.steady import OVER_S, Steady, draining, seconds
from e2e_kit.traffic import Quiet, flowing

N_MORE_ROLLOUTS = int(os.environ.get("WHISPER_ROLLOUTS", "0"))
"""`make soak` asks for some."""
Figure = Callable[[str], None]
pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time to start pods


@pytest.fixture(scope="module")
def started(operator: Ground) -> Iterator[Steady]:
    """Two pods with the default drain."""
    with fresh_namespace(operator.cluster) as namespace:
        steady = Steady(operator.cluster, namespace, origin=operator.origin)
        steady.up({"replicas": 2, "rollout": {"drainSeconds": None}})
        yield steady


@pytest.fixture
def steady(started: Steady) -> Steady:
    """Two pods, whatever the test before did."""
    started.scale(2)
    return started


@pytest.fixture
def expected(started: Steady, quiet: Quiet) -> Mapping[str, str]:
    return quiet.texts(started)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"rollout": {"drainSeconds": 5}}, id="the default drain of 15 s"),
        pytest.param(
            {"access": {"maxQueueSeconds": 301}},
            id="one pod more meanwhile",
            marks=pytest.mark.before_release(because="the default is one pod more as well"),
        ),
        pytest.param(
            {"access": {"maxQueueSeconds": 302}, "rollout": {"maxSurge": 0, "maxUnavailable": 1}},
            id="one pod less meanwhile",
            marks=pytest.mark.before_release(because="the drain of a node takes pods away first as well"),
        ),
    ],
)
def test_a_rolling_update_loses_nothing(
    steady: Steady, expected: Mapping[str, str], changed: dict[str, Any], request: pytest.FixtureRequest, figure: Figure
) -> None:
    before = {pod["metadata"]["name"] for pod in steady.settled()}
    with flowing(steady, expected) as traffic:
        steady.change(changed)
        took_s = seconds(steady.settled)
        after = {pod["metadata"]["name"] for pod in steady.pods()}
    figure(f"{request.node.name}: {took_s:.0f} s; {traffic}")
    assert not before & after
    traffic.assert_nothing_lost()


@pytest.mark.before_release(because="a rolling update deletes pods in the same way")
def test_a_deleted_pod_costs_nothing(steady: Steady, expected: Mapping[str, str], figure: Figure) -> None:
    pod = steady.settled()[0]["metadata"]["name"]
    with flowing(steady, expected) as traffic:
        took_s = seconds(lambda: steady.cluster.delete("pod", pod, namespace=steady.namespace))
        after_s = seconds(steady.settled)
    figure(f"kubectl delete pod: gone after {took_s:.0f} s, two ready again {after_s:.0f} s later; {traffic}")
    traffic.assert_nothing_lost()


@pytest.mark.before_release(because="a rolling update deletes pods in the same way")
def test_from_three_pods_to_one(steady: Steady, expected: Mapping[str, str], figure: Figure) -> None:
    steady.scale(3)
    with flowing(steady, expected) as traffic:
        took_s = seconds(lambda: steady.scale(1))
    figure(f"kubectl scale, 3 to 1: {took_s:.0f} s; {traffic}")
    traffic.assert_nothing_lost()


def test_a_node_is_drained_one_pod_after_the_other(
    steady: Steady, expected: Mapping[str, str], operator: Ground, tmp_path: Path, figure: Figure
) -> None:
    """There is no other node: the budget holds the second pod until this one takes pods again."""
    cluster, node = operator.cluster, operator.node.name
    before = {pod["metadata"]["name"] for pod in steady.settled()}
    with flowing(steady, expected) as traffic, draining(steady, node, tmp_path) as drain:
        cluster.wait(drain.has_been_refused, OVER_S, "the second eviction is refused")
        cluster.wait(lambda: len(before & _names(steady)) == 1, OVER_S, "the first pod is gone")
        left = {pod["metadata"]["name"] for pod in steady.pods() if is_ready(pod)}
        assert left == before & _names(steady)
        assert drain.popen.poll() is None
        cluster.kubectl("uncordon", node)
        took_s = seconds(drain.finish)
        after = {pod["metadata"]["name"] for pod in steady.settled()}
    figure(f"kubectl drain: ended {took_s:.0f} s after uncordon; {traffic}")
    assert not before & after
    traffic.assert_nothing_lost()


@pytest.mark.skipif(not N_MORE_ROLLOUTS, reason="WHISPER_ROLLOUTS is not set: `make soak` sets it")
@pytest.mark.timeout(N_MORE_ROLLOUTS * OVER_S + 300)
def test_rollouts_one_after_the_other(steady: Steady, expected: Mapping[str, str], figure: Figure) -> None:
    with flowing(steady, expected) as traffic:
        for number in range(N_MORE_ROLLOUTS):
            surge = {"maxSurge": 1 - number % 2, "maxUnavailable": number % 2}
            steady.change({"access": {"maxQueueSeconds": 310 + number}, "rollout": surge})
            steady.settled()
    figure(f"{N_MORE_ROLLOUTS} rolling updates: {traffic}")
    traffic.assert_nothing_lost()


def _names(steady: Steady) -> set[str]:
    return {pod["metadata"]["name"] for pod in steady.pods()}
