"""A new version of the operator brings a new image: one endpoint after the other gets it, and a failure stops the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.reading import condition
from operator_kit.end_state import wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import IMAGES, OperatorProcess

NAMES = ("a", "b", "c")
OLD, NEW = IMAGES["SERVER_IMAGE_CPU"], "registry.test/whisper-server:newer"
SOON_S = 30.0

pytestmark = pytest.mark.usefixtures("crd")


def quota(namespace: str, n_pods: int) -> dict[str, object]:
    about = {"name": "pods", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": about, "spec": {"hard": {"pods": str(n_pods)}}}


def images(cluster: Cluster, namespace: str) -> dict[str, str]:
    found = cluster.find("deployments", namespace)
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}


def under_way(cluster: Cluster, namespace: str) -> dict[str, str]:
    """The Deployments whose rollout has begun and is not complete, as `kubectl rollout status` has it: how far each is."""
    found = cluster.find("deployments", namespace)
    return {one["metadata"]["name"]: _how_far(one) for one in found if not is_complete(one)}


def _how_far(deployment: Document) -> str:
    about, status = deployment["metadata"], {**deployment["status"], "conditions": None}
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return f"generation {about['generation']}, version {about['resourceVersion']}, {image}, {status}"


def is_complete(deployment: Document) -> bool:
    """Its second generation brings the new image. A third follows: the operator takes its annotation off, which Kubernetes counts."""
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    is_seen = status.get("observedGeneration", 0) >= min(deployment["metadata"]["generation"], 2)
    return is_seen and [status.get(n, 0) for n in ("updatedReplicas", "replicas", "availableReplicas")] == [wanted] * 3


def waits_for(cluster: Cluster, namespace: str, name: str) -> str:
    return str(condition(cluster.get("wep", name, namespace), "DefaultImage").get("reason", ""))


def test_new_default_image_is_rolled_out_in_turns_and_stops_at_a_failure(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.apply(*(make_endpoint({"gpu": {"class": "none"}}, name=name, namespace=namespace) for name in NAMES))
    here = {"WATCH_NAMESPACES": namespace}  # endpoints of other tests would have turns, too
    with OperatorProcess(cluster.kubeconfig, tmp_path / "old", here).running():
        wait_until_ready(cluster, namespace, *NAMES)
    cluster.apply(
        quota(namespace, len(NAMES))
    )  # an old pod goes after the new one is ready, so there is no room for it
    cluster.wait(lambda: "hard" in cluster.get("quota", "pods", namespace).get("status", {}), SOON_S, "the quota holds")
    settings = {**here, "SERVER_IMAGE_CPU": NEW, "IMAGE_ROLLOUT_AT_ONCE": "1"}
    with OperatorProcess(cluster.kubeconfig, tmp_path / "new", settings).kept_running() as operator:

        def reasons() -> dict[str, str]:
            return {name: waits_for(cluster, namespace, name) for name in NAMES}

        def is_stopped() -> bool:
            return sorted(reasons().values()) == ["", "ImageRolloutStopped", "ImageRolloutStopped"]

        cluster.wait(is_stopped, SOON_S, "the rollout has stopped at its first endpoint")
        stopped = reasons()  # which endpoint asks first at the start is not fixed
        (first,) = [name for name in NAMES if not stopped[name]]
        other = next(name for name in NAMES if name != first)
        said = condition(cluster.get("wep", other, namespace), "DefaultImage")["message"]
        assert f"because WhisperEndpoint {namespace}/{first} does not get ready with it" in said
        assert condition(cluster.get("wep", other, namespace), "Ready")["status"] == "True"

        def has_one_failed() -> bool:
            return operator.metrics()["image_rollout_endpoints", 'stage="failed"'] == 1

        cluster.wait(has_one_failed, SOON_S, "one endpoint has failed")

        operator.kill()
        operator.wait_until_leading()
        cluster.wait(lambda: reasons() == stopped, SOON_S, "it is still so after a restart")
        assert images(cluster, namespace) == {name: NEW if name == first else OLD for name in NAMES}

        cluster.delete("quota", "pods", namespace=namespace)
        # The longer a quota has refused a pod, the later Kubernetes tries again, up to 16 minutes; it looks at a changed one at once.
        cluster.kubectl("annotate", "replicasets", "--all", f"--namespace={namespace}", "quota=gone")
        seen: list[dict[str, str]] = []

        def all_new() -> bool:
            seen.append(under_way(cluster, namespace))
            return set(images(cluster, namespace).values()) == {NEW}

        cluster.wait(all_new, 2 * SOON_S, "all have the new image")
        two_at_once = "\n".join(str(one) for one in seen if len(one) > 1)
        assert not two_at_once, f"{two_at_once}\n{operator.log()}"
        wait_until_ready(cluster, namespace, *NAMES)
        cluster.wait(lambda: set(reasons().values()) == {""}, SOON_S, "none waits")
