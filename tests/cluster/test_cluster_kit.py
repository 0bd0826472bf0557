"""What the test cluster gives to the tests that use it: faults, users, namespaces, figures."""

from __future__ import annotations

import signal

import pytest

from cluster_kit.cluster import Cluster, CommandFailed
from cluster_kit.workloads import deployment, pod

pytestmark = pytest.mark.test_bed


def wait_for_replica(cluster: Cluster, name: str, namespace: str) -> None:
    cluster.wait(
        lambda: cluster.get("deployment", name, namespace)["status"].get("readyReplicas"), 30, f"{name} has a replica"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_apiserver_comes_back_with_all_that_it_knew(
    cluster: Cluster, namespace: str, number: signal.Signals
) -> None:
    if cluster.layout is None:
        pytest.skip("the named cluster was not started by this kit: its apiserver is left alone")
    cluster.apply(deployment("before", namespace))
    cluster.stop(number=number)
    with pytest.raises(CommandFailed, match="refused"):
        cluster.find("pods")
    cluster.start()
    cluster.apply(deployment("after", namespace))
    for each in ("before", "after"):
        wait_for_replica(cluster, each, namespace)


def test_a_user_may_do_what_its_roles_say(cluster: Cluster, namespace: str) -> None:
    metadata = {"name": "reader", "namespace": namespace}
    roles = "rbac.authorization.k8s.io"
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{roles}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        },
        {
            "apiVersion": f"{roles}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": roles, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
    )
    reader = cluster.as_account("reader", namespace)
    assert reader.find("pods", namespace) == []
    with pytest.raises(CommandFailed, match=f"system:serviceaccount:{namespace}:reader.*cannot list.*secrets"):
        reader.find("secrets", namespace)
    if cluster.layout is not None:
        asked = {request.resource: (request.verb, request.code) for request in cluster.requests("reader", namespace)}
        assert asked["pods"] == ("list", 200)
        assert asked["secrets"] == ("list", 403)


def test_a_namespace_lets_in_restricted_pods_only(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        cluster.apply(pod("rooted", namespace, hostNetwork=True))


def test_helm_installs_and_leaves_nothing_in_the_home_folder(cluster: Cluster, namespace: str) -> None:
    version = cluster.helm("version", "--short")
    assert version.startswith("v3.")
    assert cluster.helm("list", f"--namespace={namespace}", "--short") == ""
    assert str(cluster.folder) in cluster.helm("env", "HELM_CACHE_HOME")


def test_the_components_are_small(cluster: Cluster) -> None:
    if cluster.layout is None:
        pytest.skip("the named cluster was not started by this kit: its processes are not known")
    figures = cluster.figures()
    print({name: f"{figure.rss_bytes / 2**20:.0f} MiB, {figure.cpu_s:.1f} s" for name, figure in figures.items()})
    assert sum(figure.rss_bytes for figure in figures.values()) < 1.5 * 2**30
