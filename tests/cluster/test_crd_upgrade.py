"""What becomes of stored endpoints when the CRD gets stricter, and ways to bring the CRD in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import refusals
from operator_kit.specs import ACCEPTED
from whisper_operator.names import CRD_NAME
from whisper_operator.resource.crd import make_crd

FILE = Path(__file__).resolve().parents[2] / "charts" / "whisper-operator" / "files" / "whisperendpoints.yaml"
BROKEN = {"gpu": {"class": "t4"}, "engine": {"dtype": "bfloat16"}}


pytestmark = pytest.mark.usefixtures("crd")


def without_rules(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_rules(one) for key, one in value.items() if key != "x-kubernetes-validations"}
    return [without_rules(one) for one in value] if isinstance(value, list) else value


def refused(cluster: Cluster) -> bool:
    return "probe" in refusals(cluster, [make_endpoint(BROKEN, name="probe", namespace="default")])


@pytest.fixture
def old_endpoints(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A namespace with endpoints from the time before the rules."""
    before = cluster.get("crd", CRD_NAME)
    loose = copy.deepcopy(make_crd())
    loose["spec"] = without_rules(loose["spec"])
    try:
        cluster.apply(loose)
        cluster.wait(lambda: not refused(cluster), 30, "the rules are gone")
        broken = (
            make_endpoint(BROKEN, name="across", namespace=namespace),
            make_endpoint({"cache": {"emptyDir": {}, "existingClaim": "a"}}, name="within", namespace=namespace),
        )

        def applied() -> bool:
            cluster.apply(*broken)
            return True

        # The API server answers 404 for a moment while it serves the new version of the CRD.
        cluster.wait(applied, 30, "endpoints of the old rules")
        cluster.apply(make_crd())
        cluster.wait(lambda: refused(cluster), 30, "the rules are back")
        yield namespace
    finally:
        cluster.apply({key: before[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": CRD_NAME}})


def test_old_endpoints_keep_running_and_are_corrected_on_change(cluster: Cluster, old_endpoints: str) -> None:
    where = f"--namespace={old_endpoints}"

    def patched(name: str, patch: dict[str, Any], *more: str) -> None:
        cluster.kubectl("patch", "wep", name, where, "--type=merge", f"--patch={json.dumps(patch)}", *more)

    for name in ("across", "within"):
        patched(name, {"status": {"url": "http://here"}}, "--subresource=status")
        patched(name, {"metadata": {"labels": {"team": "a"}}})
    patched("within", {"spec": {"replicas": 2}})  # the rule is about the cache, and that is as it was
    with pytest.raises(CommandFailed, match="write exactly one of emptyDir"):
        patched("within", {"spec": {"cache": {"emptyDir": {"sizeLimit": "2Gi"}}}})
    with pytest.raises(CommandFailed, match="a t4 has no bfloat16: write half"):
        patched("across", {"spec": {"replicas": 2}})
    patched("across", {"spec": {"replicas": 2, "engine": {"dtype": "half"}}})
    cluster.delete("wep", "within", namespace=old_endpoints)


def test_the_file_is_applied_either_way(cluster: Cluster) -> None:
    for server_side in ("true", "false"):
        # Without it, kubectl keeps all of the file in an annotation.
        flags = [f"--server-side={server_side}", *(["--force-conflicts"] if server_side == "true" else [])]
        cluster.kubectl("apply", *flags, "--dry-run=server", f"-f{FILE}")


@pytest.mark.parametrize("name", ["least", "everything-on-a-t4", "gateway", "claim-in-bytes"])
def test_applying_the_same_again_changes_nothing(cluster: Cluster, namespace: str, name: str) -> None:
    document = json.dumps(make_endpoint(ACCEPTED[name], namespace=namespace))
    cluster.kubectl("apply", "-f-", stdin=document)
    first = cluster.get("wep", "speech", namespace)["metadata"]
    assert "unchanged" in cluster.kubectl("apply", "-f-", stdin=document)
    cluster.kubectl("diff", "-f-", stdin=document)
    assert cluster.get("wep", "speech", namespace)["metadata"]["resourceVersion"] == first["resourceVersion"]
