"""The examples of the documentation, applied as they are; what endpoints lead to, taken by the API server; embedded types."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_kit.cluster import Cluster
from operator_kit.endpoints import UID, make_endpoint
from operator_kit.specs import ACCEPTED
from whisper_operator.manifests import make_children
from whisper_operator.resource.fields import Document
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
HTTP_ROUTES = ROOT / "tests" / "cluster" / "crds" / "gateway.networking.k8s.io_httproutes.yaml"
SETTINGS = Settings(server_image_gpu="gpu:1", server_image_cpu="cpu:1")


pytestmark = pytest.mark.usefixtures("crd")


def children_of(document: Document) -> list[dict[str, Any]]:
    children = make_children(
        parse_endpoint(document),
        SETTINGS,
        served_kinds=frozenset({"ResourceClaimTemplate"}),
        ingress_controller="contour",
    )
    return list(children)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_and_its_children_are_accepted(cluster: Cluster, namespace: str, path: Path) -> None:
    where = f"--namespace={namespace}"
    for server_side in ("true", "false"):
        cluster.kubectl("apply", f"--server-side={server_side}", "--dry-run=server", where, f"-f{path}")
    cluster.kubectl("apply", where, f"-f{path}")
    (endpoint,) = cluster.find("wep", namespace)
    assert endpoint["metadata"]["name"].startswith("whisper-")
    cluster.apply(*children_of(endpoint))
    assert len(cluster.find("deployment", namespace)) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_one_commented_endpoint(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    (document,) = yaml.safe_load_all(text)
    assert document["kind"] == "WhisperEndpoint"
    assert "namespace" not in document["metadata"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_crd_takes_leads_to_what_the_api_server_takes(cluster: Cluster, name: str) -> None:
    endpoint = make_endpoint(ACCEPTED[name], name=name, namespace="default", uid=UID)
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": children_of(endpoint)})
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f-", stdin=items)


def test_embedded_types_are_those_of_this_api_server(cluster: Cluster) -> None:
    script = importlib.util.spec_from_file_location("embedded_types", ROOT / "scripts" / "embedded_types.py")
    assert script is not None
    assert script.loader is not None
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    now = module.embedded_types(
        lambda path: json.loads(cluster.kubectl("get", "--raw", path)), yaml.safe_load(HTTP_ROUTES.read_text())
    )
    stored = json.loads(module.TARGET.read_text())
    # That CRD comes without descriptions here.
    assert without_descriptions(now) == without_descriptions(stored)
    kubernetes = {name for name in stored if name.startswith("io.k8s.")}
    assert {name: now[name] for name in kubernetes} == {name: stored[name] for name in kubernetes}


def without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_descriptions(one)
            for key, one in value.items()
            if not (key == "description" and isinstance(one, str))
        }
    return [without_descriptions(one) for one in value] if isinstance(value, list) else value
