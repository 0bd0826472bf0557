"""The charts on a real API server: all that they can make is taken, and goes again; README and notes say what works."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_kit.charts import CHARTS, ENDPOINTS, OPERATOR, only, render
from chart_kit.other_kinds import other_kinds
from chart_kit.releases import Release, labelled, needs_no_crd, released
from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.installed_crd import installed_crd, wait_for_crd
from whisper_operator.names import CRD_NAME


@pytest.fixture(scope="module", autouse=True)
def kinds(cluster: Cluster) -> Iterator[None]:
    with other_kinds(cluster):
        yield


def accepted(cluster: Cluster, documents: list[dict[str, Any]]) -> None:
    """Raises what the API server says against them. Nothing is made."""
    items = [under_account_that_is_there(one) if one["kind"] == "Pod" else one for one in documents]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)


def under_account_that_is_there(pod: dict[str, Any]) -> dict[str, Any]:
    return pod | {"spec": pod["spec"] | {"serviceAccountName": "default"}}


def values_files(chart: Path) -> list[Path]:
    return sorted((chart / "ci").glob("*.yaml"))


@pytest.mark.parametrize("values", values_files(OPERATOR), ids=lambda path: path.stem)
def test_the_api_server_takes_all_that_the_operators_chart_can_make(
    cluster: Cluster, namespace: str, values: Path
) -> None:
    needs_no_crd(cluster)  # one of the documents is the CRD, which is created
    accepted(cluster, render(OPERATOR, values, namespace=namespace))


@pytest.mark.parametrize("values", values_files(ENDPOINTS), ids=lambda path: path.stem)
def test_the_api_server_takes_all_that_the_endpoints_chart_can_make(
    cluster: Cluster, namespace: str, values: Path
) -> None:
    with installed_crd(cluster):
        documents = render(ENDPOINTS, values, namespace=namespace)
        if documents:
            accepted(cluster, documents)


def test_the_endpoint_of_helm_test_is_accepted(cluster: Cluster, namespace: str) -> None:
    files = only(render(OPERATOR, namespace=namespace), "ConfigMap", "-test")["data"]
    with installed_crd(cluster):
        accepted(cluster, [json.loads(files["endpoint.json"])])


@pytest.mark.parametrize("values", values_files(OPERATOR), ids=lambda path: path.stem)
def test_pods_of_the_chart_pass_podsecurity_restricted(cluster: Cluster, namespace: str, values: Path) -> None:
    documents = render(OPERATOR, values, namespace=namespace)
    specs = {
        "operator": only(documents, "Deployment")["spec"]["template"]["spec"],
        "test": only(documents, "Pod")["spec"],
    }
    for name, spec in specs.items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}}
        accepted(cluster, [pod | {"spec": spec}])
        loose = [container | {"securityContext": {}} for container in spec["containers"]]
        with pytest.raises(CommandFailed, match="violates PodSecurity"):
            accepted(cluster, [pod | {"spec": spec | {"containers": loose}}])


def test_a_release_leaves_only_the_crd(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace, {"replicas": 2}) as release:
        made = {(one["kind"], one["metadata"]["name"]) for one in release.documents()}
        assert ("Deployment", release.fullname) in made
        assert ("CustomResourceDefinition", CRD_NAME) in made
        assert "were kept" in release.uninstall()
        assert [one["kind"] for one in release.documents()] == ["CustomResourceDefinition"]
        assert cluster.find("pods", namespace) == []


def test_a_release_deletes_the_crd_where_its_values_say_so(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace, {"crds": {"keep": False}}) as release:
        release.uninstall()
        assert release.documents() == []


def test_a_kept_crd_comes_back_into_the_release(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace) as release:
        before = cluster.get("crd", CRD_NAME)["metadata"]["uid"]
        release.uninstall()
        release.install()
        release.uninstall()
        with pytest.raises(CommandFailed, match="cannot be imported into the current release"):
            Release(cluster, namespace, "other").install()
        Release(cluster, namespace, "other").install(None, "--take-ownership")
        assert cluster.get("crd", CRD_NAME)["metadata"]["uid"] == before
        Release(cluster, namespace, "other").uninstall()


def test_two_releases_of_one_name_do_not_meet(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace, {"watch": {"namespaces": [namespace]}}):
        other = Release(cluster, "default")
        other.install({"crds": {"install": False}, "watch": {"namespaces": ["default"]}})
        other.uninstall()


@pytest.mark.before_release(because="the test that fails leaves nothing either")
def test_helm_test_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace) as release:
        # The simulated kubelet lets a pod succeed that is not restarted; what it would run is test_chart_hook's business.
        told = cluster.helm("test", release.name, f"--namespace={namespace}", "--hide-notes")
        assert told.count("Phase:          Succeeded") == 5
        assert labelled(cluster, "app.kubernetes.io/component=test") == []


def test_a_failed_helm_test_leaves_nothing_either(cluster: Cluster, namespace: str) -> None:
    with released(cluster, namespace, {"test": {"namespace": "default"}}) as release:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-pods", "namespace": "default"}}
        cluster.apply(quota | {"spec": {"hard": {"pods": "0"}}})
        try:
            cluster.wait(
                lambda: cluster.get("resourcequota", "no-pods").get("status", {}).get("hard"), 30, "the quota holds"
            )
            with pytest.raises(CommandFailed, match="exceeded quota"):
                cluster.helm("test", release.name, f"--namespace={namespace}")
        finally:
            cluster.delete("resourcequota", "no-pods")
        left = {one["kind"] for one in labelled(cluster, "app.kubernetes.io/component=test")}
        told = cluster.helm("test", release.name, f"--namespace={namespace}", "--hide-notes")
        assert told.count("Succeeded") == 5
        assert labelled(cluster, "app.kubernetes.io/component=test") == [], left


def test_endpoints_from_helm_come_and_go(cluster: Cluster, namespace: str) -> None:
    with installed_crd(cluster):
        release = Release(cluster, namespace, "speech", ENDPOINTS)
        values = yaml.safe_load((ENDPOINTS / "ci/all-values.yaml").read_text())
        told = release.install(values)
        assert "kubectl get wep demo whisper-large whisper-turbo" in told
        found = {one["metadata"]["name"]: one for one in cluster.find("wep", namespace)}
        assert set(found) == {"demo", "whisper-large", "whisper-turbo"}
        assert found["whisper-large"]["metadata"]["labels"]["team"] == "archive"
        assert found["whisper-large"]["spec"]["access"]["maxUploadBytes"] == 2_147_483_648
        assert "cache" not in found["demo"]["spec"]
        values["endpoints"].pop("demo")
        release.upgrade(values)
        assert {one["metadata"]["name"] for one in cluster.find("wep", namespace)} == {"whisper-large", "whisper-turbo"}
        release.uninstall()
        assert cluster.find("wep", namespace) == []


def test_helm_shows_which_rule_of_the_crd_is_broken(cluster: Cluster, namespace: str) -> None:
    with installed_crd(cluster):
        release = Release(cluster, namespace, "speech", ENDPOINTS)
        spec = {"model": {"id": "demo"}, "gpu": {"class": "t4"}, "engine": {"dtype": "bfloat16"}}
        with pytest.raises(CommandFailed, match=r"(?s)is invalid: spec.*bfloat16"):
            release.install({"endpoints": {"one": {"spec": spec}}})
        release.uninstall()


def test_the_notes_can_be_followed(cluster: Cluster, namespace: str) -> None:
    release = Release(cluster, namespace)
    with released(cluster, namespace, {"watch": {"namespaces": [namespace]}}):
        notes = cluster.helm("get", "notes", release.name, f"--namespace={namespace}")
        applied = re.search(r"kubectl apply -f - <<'EOF'\n(.*?)\n +EOF", notes, re.DOTALL)
        assert applied
        cluster.kubectl("apply", "--filename=-", "--validate=strict", stdin=applied[1])
        commands = re.findall(r"(?:^ {3}|: )(kubectl (?:get|explain).*)$", notes, re.MULTILINE)
        assert len(commands) == 2
        for command in commands:
            cluster.kubectl(*[word for word in shlex.split(command)[1:] if word != "--watch"])
        (endpoint,) = cluster.find("wep", namespace)
        forwarded = re.search(r"kubectl port-forward service/(\S+) 8000:80 --namespace (\S+)", notes)
        assert forwarded
        assert forwarded.groups() == (endpoint["metadata"]["name"], namespace)
        assert "   curl http://localhost:8000/v1/audio/transcriptions -F model=whisper-1 -F file=@speech.wav\n" in notes
        assert f"helm test {release.name} --namespace {namespace}" in notes


def test_the_commands_of_the_readme_work(cluster: Cluster) -> None:
    readme = (OPERATOR / "README.md").read_text()
    blocks = [block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)]
    commands = [line for block in blocks for line in block.strip().splitlines()]
    assert [command.split()[:2] for command in commands] == [
        ["make", "build"],
        ["helm", "install"],
        ["helm", "install"],
        ["helm", "upgrade"],
        ["helm", "uninstall"],
        ["kubectl", "delete"],
    ]
    build, first, without_rights, *others = commands
    assert build in (CHARTS.parent / "README.md").read_text()
    needs_no_crd(cluster)
    try:
        run(cluster, first)
        wait_for_crd(cluster)
        for command in others:
            run(cluster, command)
        crd = re.search(r"`(kubectl apply [^`]*)`", readme)
        assert crd
        run(cluster, crd[1])
        cluster.kubectl("create", "namespace", "speech")
        run(cluster, without_rights)
        assert [
            one for one in Release(cluster, "speech", "whisper-operator").documents() if in_cluster_at_large(one)
        ] == []
    finally:
        for namespace in ("whisper-system", "speech"):
            Release(cluster, namespace, "whisper-operator").uninstall()
            cluster.delete("namespace", namespace, wait=False)
        cluster.delete("crd", CRD_NAME)


def run(cluster: Cluster, command: str) -> None:
    """A command of README, in the checkout."""
    program, *words = shlex.split(command)
    here = [word.replace("charts/", f"{CHARTS}/", 1) if word.startswith("charts/") else word for word in words]
    {"helm": cluster.helm, "kubectl": cluster.kubectl}[program](*here)


def in_cluster_at_large(document: dict[str, Any]) -> bool:
    return "namespace" not in document["metadata"]
