"""The cluster that the tests here share: their own, gone afterwards even where pytest was killed.

With WHISPER_CLUSTER_KUBECONFIG they use the one named there. A machine that cannot have a cluster skips them, and says
why. Tools are built before the first test, outside of any test's time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_kit import lifecycle, processes, tools
from cluster_kit.cluster import Cluster, cluster_of
from cluster_kit.namespaces import fresh_namespace
from cluster_kit.nodes import Nodes
from operator_kit.installed_crd import installed_crd
from operator_kit.live_endpoint import START_S, LiveEndpoint
from operator_kit.operator_process import OperatorProcess

NAMED = os.environ.get("WHISPER_CLUSTER_KUBECONFIG", "")
REFUSED = pytest.StashKey[str]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing. The first time on a machine this takes minutes."""
    wanted = any("needs_cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly or not tools.missing():
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            tools.build()
        except tools.Unavailable as why:
            session.config.stash[REFUSED] = str(why)


@pytest.fixture(scope="session")
def needs_cluster(pytestconfig: pytest.Config) -> None:
    """Asked for by tests that start clusters of their own."""
    why = pytestconfig.stash.get(REFUSED, "")
    if why:
        pytest.skip(f"no test cluster: {why}")


@pytest.fixture(scope="session")
def cluster(needs_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The shared cluster, with all nodes of the catalogue."""
    if NAMED:
        yield cluster_of(Path(NAMED).absolute(), tmp_path_factory.mktemp("users"))
        return
    folder = tmp_path_factory.mktemp("cluster")
    try:
        layout = lifecycle.up(folder, owner=processes.this_process())
    except tools.Unavailable as why:
        pytest.skip(f"no test cluster: {why}")
    try:
        found = Cluster(layout.kubeconfig, layout.server, folder, layout)
        Nodes(found).restore()
        yield found
    finally:
        lifecycle.down(folder)


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    """The simulated nodes, for tests that change them; the whole catalogue is back afterwards."""
    simulated = Nodes(cluster)
    simulated.restore()
    yield simulated
    simulated.restore()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace that lets in only what PodSecurity calls restricted; deleted afterwards."""
    with fresh_namespace(cluster) as name:
        yield name


@pytest.fixture(scope="module")
def crd(cluster: Cluster) -> Iterator[None]:
    """The CRD, for the tests of a module."""
    with installed_crd(cluster):
        yield


@pytest.fixture(scope="module")
def operator(cluster: Cluster, crd: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator at work as an administrator, with short periods; started again whenever it ends, as a kubelet would."""
    with OperatorProcess(cluster.kubeconfig, tmp_path_factory.mktemp("operator")).kept_running() as started:
        yield started


@pytest.fixture(scope="module")
def punctual_operator(cluster: Cluster, crd: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The operator with its own default periods, for tests of how soon it tells something."""
    periods = {"DRIFT_SECONDS": "", "MISSING_SECONDS": "", "LEASE_SECONDS": ""}
    with OperatorProcess(cluster.kubeconfig, tmp_path_factory.mktemp("operator"), periods).running():
        yield


@pytest.fixture
def endpoint(cluster: Cluster, namespace: str, punctual_operator: None) -> LiveEndpoint:
    """One that is not there yet."""
    return LiveEndpoint(cluster, namespace)


@pytest.fixture
def serving(endpoint: LiveEndpoint) -> LiveEndpoint:
    """One that is well."""
    endpoint.apply()
    endpoint.expect(START_S, Ready="True Ready")
    return endpoint
