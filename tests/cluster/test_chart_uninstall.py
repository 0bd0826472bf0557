"""Whatever is taken away first: nothing hangs, nothing leaks, and the operator comes back by itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chart_kit.operators import operator_of
from chart_kit.releases import labelled, released
from cluster_kit.cluster import Cluster
from cluster_kit.reading import is_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import wait_for_crd
from operator_kit.operator_process import OperatorProcess
from suite_kit.slow import IN_SHORT, SLOW
from whisper_operator.names import CRD_NAME

MANY = 20 if IN_SHORT else 50
GONE_LIMIT_S = 120.0
"""The garbage collector may need 30 s to learn of a CRD, and as long to be through."""
OURS = "app.kubernetes.io/managed-by=whisper-operator"


def endpoint(namespace: str, name: str = "speech") -> dict[str, Any]:
    spec = {
        "gpu": {"class": "none"},
        "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
        "rollout": {"drainSeconds": 0},
    }
    return make_endpoint(spec, name=name, namespace=namespace)


def wait_until_ready(cluster: Cluster, namespace: str, n: int = 1) -> None:
    cluster.wait(
        lambda: sum(is_ready(one) for one in cluster.find("wep", namespace)) == n, 120, f"{n} are ready", every_s=1
    )


def pods(cluster: Cluster, namespace: str) -> set[str]:
    return {one["metadata"]["uid"] for one in cluster.find("pods", namespace, OURS)}


def wait_until_nothing_is_left(cluster: Cluster) -> None:
    """Of what endpoints were made of."""
    deadline_s = time.monotonic() + GONE_LIMIT_S * SLOW
    while left := labelled(cluster, OURS):
        told = [f"{one['kind']} {one['metadata']['namespace']}/{one['metadata']['name']}" for one in left]
        assert time.monotonic() < deadline_s, f"still there: {told}"
        time.sleep(2)


def let_the_garbage_collector_learn(cluster: Cluster, namespace: str) -> None:
    """It looks for new kinds every 30 s. Of endpoints that it never saw it does not know later whose children are orphans.

    What is deleted in the foreground goes once it has seen the endpoint itself.
    """
    cluster.apply(endpoint(namespace, "canary"))
    cluster.wait(lambda: cluster.get("deployment", "canary", namespace), 60, "the canary has a Deployment")
    command = ["delete", "wep", "canary", f"--namespace={namespace}", "--cascade=foreground", "--timeout=150s"]
    cluster.kubectl(*command, limit_s=180)


def test_the_operator_first(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Servers go on without it; back again, it finds them as they are; endpoints can go without it."""
    with released(cluster, namespace) as release:
        with operator_of(release, tmp_path / "first").running():
            cluster.apply(endpoint(namespace))
            wait_until_ready(cluster, namespace)
        before = pods(cluster, namespace)
        generation = cluster.get("deployment", "speech", namespace)["metadata"]["generation"]
        release.uninstall()
        assert pods(cluster, namespace) == before
        release.install()
        with operator_of(release, tmp_path / "second").running() as operator:
            operator.wait("looked at it", lambda: operator.metrics().get(("reconciles_total", 'result="done"'), 0) > 0)
        assert pods(cluster, namespace) == before
        assert cluster.get("deployment", "speech", namespace)["metadata"]["generation"] == generation
        release.uninstall()
        cluster.kubectl("delete", "wep", "--all", f"--namespace={namespace}", "--timeout=60s")
        wait_until_nothing_is_left(cluster)


def test_endpoints_first(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with released(cluster, namespace) as release:
        with operator_of(release, tmp_path).running():
            cluster.apply(endpoint(namespace))
            wait_until_ready(cluster, namespace)
            cluster.kubectl("delete", "wep", "speech", f"--namespace={namespace}", "--timeout=60s")
        release.uninstall()
        wait_until_nothing_is_left(cluster)


@pytest.mark.before_release(because="all at once, and each alone, are the orders that people use")
def test_the_namespace_of_endpoints_first(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "speech-team"}})
    with released(cluster, namespace) as release, operator_of(release, tmp_path).running() as operator:
        cluster.apply(endpoint("speech-team"), endpoint(namespace, "stays"))
        wait_until_ready(cluster, "speech-team")
        cluster.kubectl(
            "delete", "namespace", "speech-team", f"--timeout={GONE_LIMIT_S:.0f}s", limit_s=GONE_LIMIT_S + 30
        )
        assert {one["metadata"]["namespace"] for one in labelled(cluster, OURS)} <= {namespace}
        # Whatever it tried in a namespace that ends, it is not ill of it.
        wait_until_ready(cluster, namespace)
        assert operator.ask("/healthz")[0] == operator.ask("/readyz")[0] == 200


@pytest.mark.before_release(because="all at once, and each alone, are the orders that people use")
def test_the_namespace_of_the_operator_first(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Endpoints stay, and the next release takes them over."""
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "whisper-home"}}
    cluster.apply(home)
    with released(cluster, "whisper-home") as release:
        with operator_of(release, tmp_path / "first").running():
            cluster.apply(endpoint(namespace))
            wait_until_ready(cluster, namespace)
        before = pods(cluster, namespace)
        cluster.kubectl(
            "delete", "namespace", "whisper-home", f"--timeout={GONE_LIMIT_S:.0f}s", limit_s=GONE_LIMIT_S + 30
        )
        cluster.apply(home)
        release.install()
        with operator_of(release, tmp_path / "second").running():
            cluster.kubectl(
                "patch", "wep", "speech", f"--namespace={namespace}", "--type=merge", "-p", '{"spec":{"replicas":2}}'
            )
            cluster.wait(lambda: len(pods(cluster, namespace)) == 2, 60, "the second pod is there")
        assert before < pods(cluster, namespace)
    cluster.delete("namespace", "whisper-home", wait=False)


@pytest.mark.parametrize(
    "alive",
    [
        pytest.param(True, id="operator at work"),
        pytest.param(
            False, id="operator gone", marks=pytest.mark.before_release(because="an operator at work does more")
        ),
    ],
)
def test_the_crd_first(cluster: Cluster, namespace: str, tmp_path: Path, alive: bool) -> None:
    """With many endpoints. A living operator ends, waits for the CRD, and goes on once it is there."""
    with released(cluster, namespace) as release:
        operator = operator_of(release, tmp_path)
        with operator.kept_running():
            let_the_garbage_collector_learn(cluster, namespace)
            cluster.apply(*[endpoint(namespace, f"speech-{n}") for n in range(MANY)])
            wait_until_ready(cluster, namespace, MANY)
            if alive:
                delete_crd(cluster)
                waits_for_the_crd(cluster, operator)
                wait_until_nothing_is_left(cluster)
                release.upgrade()
                wait_for_crd(cluster)
                cluster.apply(endpoint(namespace, "again"))
                wait_until_ready(cluster, namespace)
                return
        release.uninstall()
        delete_crd(cluster)
        wait_until_nothing_is_left(cluster)


def delete_crd(cluster: Cluster) -> None:
    cluster.kubectl("delete", "crd", CRD_NAME, "--timeout=60s")


def waits_for_the_crd(cluster: Cluster, operator: OperatorProcess) -> None:
    """Alive, not ready, and it says why."""
    told = "the API server does not serve WhisperEndpoints: is the CRD installed?"

    def waits() -> bool:
        code, text = operator.ask("/readyz")
        return code == 503 and told in text

    cluster.wait(waits, 60, "the operator waits for the CRD")
    assert operator.ask("/healthz")[0] == 200


def test_all_at_once(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """crds.keep=false: uninstalling is the end of every endpoint."""
    with released(cluster, namespace, {"crds": {"keep": False}}) as release:
        with operator_of(release, tmp_path).running():
            let_the_garbage_collector_learn(cluster, namespace)
            cluster.apply(endpoint(namespace))
            wait_until_ready(cluster, namespace)
        release.uninstall()
        assert cluster.kubectl("get", "crd", CRD_NAME, "--ignore-not-found") == ""
        wait_until_nothing_is_left(cluster)
        assert release.documents() == []


@contextmanager
def standing_by(operator: OperatorProcess) -> Iterator[None]:
    operator.start()
    try:
        operator.wait("ready to take over", lambda: operator.ask("/readyz")[0] == 200)
        yield
    finally:
        assert operator.stop() == 0


@pytest.mark.before_release(because="all at once, and each alone, are the orders that people use")
def test_two_operators_hand_over(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """replicas: 2, and one of them killed: the other goes on within the time that a Lease lasts."""
    with released(cluster, namespace, {"replicas": 2}) as release:
        first = operator_of(release, tmp_path / "first", {"IDENTITY": "first"})
        second = operator_of(release, tmp_path / "second", {"IDENTITY": "second"})
        first.start()
        try:
            first.wait_until_leading()
            with standing_by(second):
                cluster.apply(endpoint(namespace))
                wait_until_ready(cluster, namespace)
                assert not second.leads
                first.kill()
                second.wait_until_leading(15)
                cluster.apply(endpoint(namespace, "more"))
                wait_until_ready(cluster, namespace, 2)
                assert cluster.get("lease", release.fullname, namespace)["spec"]["holderIdentity"] == "second"
        finally:
            first.kill()
