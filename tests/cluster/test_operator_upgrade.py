"""Another version of the operator takes over while an endpoint runs: pods restart for their own settings only."""

from __future__ import annotations

import base64
import json
import time
import zlib
from pathlib import Path

import pytest

from cluster_kit.cluster import Cluster, Document
from operator_kit.end_state import pods, wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import OperatorProcess
from whisper_operator.manifests import pinned_template as kept
from whisper_operator.names import TEMPLATE_ANNOTATION

OLD_PERIOD_S = 99
STILL_S = 6.0
"""Three times what it takes until the operator looks at everything again."""

pytestmark = pytest.mark.usefixtures("crd")


def make(cluster: Cluster, namespace: str, language: str = "") -> None:
    spec = {"gpu": {"class": "none"}, "transcription": {"languageForce": language}}
    cluster.apply(make_endpoint(spec, namespace=namespace))


def deployment(cluster: Cluster, namespace: str) -> Document:
    return cluster.get("deployment", "speech", namespace)


def probe_period_s(template: Document) -> int:
    return int(template["spec"]["containers"][0]["readinessProbe"]["periodSeconds"])


def write_as_another_version_did(cluster: Cluster, namespace: str) -> None:
    """The same settings, another probe."""
    live = deployment(cluster, namespace)
    template = json.loads(zlib.decompress(base64.b64decode(live["metadata"]["annotations"][TEMPLATE_ANNOTATION])))
    template["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = OLD_PERIOD_S
    annotation = TEMPLATE_ANNOTATION.replace("/", "~1")
    patch = [
        {"op": "replace", "path": f"/metadata/annotations/{annotation}", "value": kept.as_text(template)},
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/readinessProbe/periodSeconds",
            "value": OLD_PERIOD_S,
        },
    ]
    cluster.kubectl(
        "patch", "deployment", "speech", f"--namespace={namespace}", "--type=json", f"--patch={json.dumps(patch)}"
    )
    cluster.kubectl("rollout", "status", "deployment/speech", f"--namespace={namespace}", "--timeout=30s")


def uids(cluster: Cluster, namespace: str) -> set[str]:
    alive = [pod for pod in pods(cluster, namespace) if "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["uid"] for pod in alive}


def test_only_what_pods_run_on_restarts_them(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    make(cluster, namespace)
    with OperatorProcess(cluster.kubeconfig, tmp_path / "old").running():
        wait_until_ready(cluster, namespace, "speech")
    write_as_another_version_did(cluster, namespace)
    before, running = deployment(cluster, namespace), uids(cluster, namespace)

    with OperatorProcess(cluster.kubeconfig, tmp_path / "new").running():
        time.sleep(STILL_S)
        after = deployment(cluster, namespace)
        assert probe_period_s(after["spec"]["template"]) == OLD_PERIOD_S
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
        assert uids(cluster, namespace) == running

        make(cluster, namespace, language="fa")
        cluster.wait(
            lambda: probe_period_s(deployment(cluster, namespace)["spec"]["template"]) != OLD_PERIOD_S,
            10,
            "the new settings bring the new template",
        )
        wait_until_ready(cluster, namespace, "speech")
    write_as_another_version_did(cluster, namespace)

    image = "registry.test/whisper-server:newer"
    with OperatorProcess(cluster.kubeconfig, tmp_path / "newer", {"SERVER_IMAGE_CPU": image}).running():
        cluster.wait(
            lambda: deployment(cluster, namespace)["spec"]["template"]["spec"]["containers"][0]["image"] == image,
            10,
            "a new default image is a changed setting",
        )
        assert probe_period_s(deployment(cluster, namespace)["spec"]["template"]) != OLD_PERIOD_S
        wait_until_ready(cluster, namespace, "speech")
