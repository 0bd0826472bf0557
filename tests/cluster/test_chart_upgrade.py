"""An upgrade of the chart and of the operator restarts no server: only what changes a server's own settings does."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chart_kit.charts import CHARTS, OPERATOR
from chart_kit.operators import operator_of
from chart_kit.releases import Release, needs_no_crd
from cluster_kit.cluster import Cluster
from cluster_kit.nodes import Nodes
from cluster_kit.reading import is_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import wait_for_crd
from whisper_operator.names import CRD_NAME

ROOT = CHARTS.parent
IMAGES = {"server": {"image": {"gpu": {"tag": "1-gpu"}, "cpu": {"tag": "1-cpu"}}}}
"""The same before and after: another image is another setting."""


@dataclass(frozen=True)
class Source:
    """A chart, and the operator that belongs to it."""

    chart: Path
    python_path: Path


def previous_commit(folder: Path) -> Source:
    """As the commit before this one has them."""
    packed = folder / "before.tar"
    command = [
        "git",
        "archive",
        "--output",
        str(packed),
        "HEAD~1",
        "charts/whisper-operator",
        "operator/whisper_operator",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the previous commit's chart cannot be had: {done.stderr.strip()}")
    subprocess.run(["tar", "xf", str(packed)], cwd=folder, check=True)
    return Source(folder / "charts/whisper-operator", folder / "operator")


def other_version(folder: Path) -> Source:
    """What is here, under an older version."""
    chart, package = folder / "whisper-operator", folder / "whisper_operator"
    shutil.copytree(OPERATOR, chart)
    shutil.copytree(ROOT / "operator/whisper_operator", package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (chart / "Chart.yaml", package / "__init__.py"):
        assert "0.1.0" in path.read_text()
        path.write_text(path.read_text().replace("0.1.0", "0.0.9"))
    return Source(chart, folder)


@pytest.fixture
def clean(cluster: Cluster, namespace: str) -> Iterator[None]:
    needs_no_crd(cluster)
    ingress_class = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "contour"}}
    cluster.apply(ingress_class | {"spec": {"controller": "projectcontour.io/contour"}})
    yield
    Release(cluster, namespace).uninstall()
    cluster.delete("crd", CRD_NAME)
    cluster.delete("ingressclass", "contour")


def endpoints(namespace: str) -> list[dict[str, Any]]:
    rich: dict[str, Any] = {
        "gpu": {"class": "none"},
        "replicas": 2,
        "exposure": {"ingress": {"className": "contour", "host": "cpu.example.com"}},
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4, "metric": "cpu", "target": 80},
        "cache": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}},
        "transcription": {"languageForce": "de"},
    }
    specs: dict[str, dict[str, Any]] = {
        "cpu": rich,
        "t4": {"gpu": {"class": "t4"}},
        "ampere": {"gpu": {"class": "ampere"}, "replicas": 2},
    }
    return [make_endpoint(spec, name=name, namespace=namespace) for name, spec in specs.items()]


def pods(cluster: Cluster, namespace: str, endpoint: str = "") -> set[str]:
    selector = f"whisper-operator.io/endpoint={endpoint}" if endpoint else "whisper-operator.io/endpoint"
    return {one["metadata"]["uid"] for one in cluster.find("pods", namespace, selector)}


def generations(cluster: Cluster, namespace: str) -> dict[str, int]:
    found = cluster.find("deployments", namespace, "whisper-operator.io/endpoint")
    return {one["metadata"]["name"]: one["metadata"]["generation"] for one in found}


def wait_until_all_are_ready(cluster: Cluster, namespace: str) -> None:
    def ready() -> bool:
        found = cluster.find("wep", namespace)
        current = [
            one for one in found if one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
        ]
        return len(current) == 3 and all(is_ready(one) for one in current)

    cluster.wait(ready, 120, "all endpoints are ready", every_s=0.5)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(previous_commit, id="previous_commit"),
        pytest.param(
            other_version, id="other_version", marks=pytest.mark.before_release(because="a commit is a version as well")
        ),
    ],
)
@pytest.mark.usefixtures("clean")
def test_an_upgrade_restarts_nothing(
    cluster: Cluster, nodes: Nodes, namespace: str, tmp_path: Path, source: Callable[[Path], Source]
) -> None:
    (tmp_path / "source").mkdir()
    before = source(tmp_path / "source")
    old = Release(cluster, namespace, chart=before.chart)
    old.install(IMAGES)
    wait_for_crd(cluster)
    with operator_of(old, tmp_path / "old", {"PYTHONPATH": str(before.python_path)}).running():
        cluster.apply(*endpoints(namespace))
        wait_until_all_are_ready(cluster, namespace)
    there, written = pods(cluster, namespace), generations(cluster, namespace)
    assert len(there) == 5

    new = Release(cluster, namespace)
    new.upgrade(IMAGES)
    with operator_of(new, tmp_path / "new").running() as operator:
        operator.wait("looking at all of them again and again", lambda: looks(operator.metrics()) >= 12)
        wait_until_all_are_ready(cluster, namespace)
    assert pods(cluster, namespace) == there
    assert generations(cluster, namespace) == written

    # A new image of one kind rolls that kind.
    new.upgrade({"server": {"image": {**IMAGES["server"]["image"], "cpu": {"tag": "2-cpu"}}}})
    of_gpus = pods(cluster, namespace, "t4") | pods(cluster, namespace, "ampere")
    with operator_of(new, tmp_path / "newer").running():
        cluster.wait(lambda: not pods(cluster, namespace, "cpu") & there, 120, "the CPU's pods are new ones")
        wait_until_all_are_ready(cluster, namespace)
    assert pods(cluster, namespace, "t4") | pods(cluster, namespace, "ampere") == of_gpus


def looks(metrics: dict[tuple[str, str], float]) -> float:
    return sum(value for (name, _), value in metrics.items() if name == "reconciles_total")


@pytest.mark.usefixtures("clean")
def test_an_upgrade_brings_the_new_crd(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Helm never upgrades what lies in `crds/`; what is a template, it does."""
    chart = tmp_path / "whisper-operator"
    shutil.copytree(OPERATOR, chart)
    crd = chart / "files/whisperendpoints.yaml"
    text = crd.read_text()
    assert "A Whisper model served" in text
    crd.write_text(text.replace("A Whisper model served", "An older Whisper model served"))
    Release(cluster, namespace, chart=chart).install()
    wait_for_crd(cluster)
    uid = cluster.get("crd", CRD_NAME)["metadata"]["uid"]
    assert "An older Whisper model" in str(cluster.get("crd", CRD_NAME))
    Release(cluster, namespace).upgrade()
    after = cluster.get("crd", CRD_NAME)
    assert "An older Whisper model" not in str(after)
    assert after["metadata"]["uid"] == uid
