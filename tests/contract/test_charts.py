"""The charts say what the code does: values, schema, README, the operator's settings and defaults, versions."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import whisper_operator
import whisper_server
from chart_kit import charts
from chart_kit.charts import ENDPOINTS, OPERATOR, HelmFailed, at, environment, leaves, only, render
from cluster_kit import tools
from whisper_operator import kinds, names
from whisper_operator.defaults import Defaults, camel_case
from whisper_operator.errors import StartError
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.settings import Settings

ROOT = charts.CHARTS.parent
BOTH = pytest.mark.parametrize("chart", [OPERATOR, ENDPOINTS], ids=lambda chart: chart.name)
NOT_IN_PODS = {"kubeconfig", "kube_context"}
"""Settings for an operator that runs outside of the cluster."""
SETTING_OF = {
    "watch.namespaces": "watch_namespaces",
    "ingressController": "ingress_controller",
    "policy.allowedImageRegistries": "allowed_image_registries",
    "policy.refusedAnnotations": "refused_annotations",
    "imageRollout.atOnce": "image_rollout_at_once",
    "clusterDomain": "cluster_domain",
    "reconcile.workers": "workers",
    "reconcile.driftSeconds": "drift_seconds",
    "reconcile.missingSeconds": "missing_seconds",
    "leaseSeconds": "lease_seconds",
    "interface": "interface",
    "log.level": "log_level",
    "log.format": "log_format",
    "rbac.readSecrets": "read_secrets",
    "monitoring.namespace": "monitoring_namespace",
    "monitoring.endpoints.podMonitors": "pod_monitors",
    "monitoring.endpoints.podMonitorLabels": "pod_monitor_labels",
    "monitoring.endpoints.prometheusUrl": "prometheus_url",
}
"""Values that are settings of the operator as they are; others are put together by the chart."""
PUT_TOGETHER = {"server_image_gpu", "server_image_cpu", "operator_namespace", "lease_name", "identity", "port"}


@pytest.fixture(scope="module", autouse=True)
def helm() -> None:
    try:
        tools.build(["helm", "helm-unittest"])
    except tools.Unavailable as why:
        pytest.skip(f"no Helm: {why}")


def settings_from(documents: list[dict[str, Any]]) -> Settings:
    """As the pod would read them."""
    found = environment(documents)
    downward = {"metadata.namespace": "whisper-system", "metadata.name": "pod-1"}
    variables = {
        name: value if isinstance(value, str) else downward[value["fieldRef"]["fieldPath"]]
        for name, value in found.items()
    }
    mounts = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    folder = next(mount["mountPath"] for mount in mounts if mount["name"] == "defaults")
    files = {f"{folder}/defaults.json": charts.defaults_file(documents)}
    return Settings.from_env(variables, files.__getitem__)


def templates(chart: Path) -> Iterator[str]:
    for path in (chart / "templates").rglob("*"):
        if path.is_file():
            yield path.read_text()


def test_schemas_and_tables_are_those_of_the_values() -> None:
    command = [sys.executable, str(ROOT / "scripts/generate_charts.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@BOTH
def test_all_values_sets_every_value_to_something_else(chart: Path) -> None:
    values, schema = charts.values_of(chart), charts.schema_of(chart)
    everything = yaml.safe_load((chart / "ci/all-values.yaml").read_text())
    untouched = []
    for path in leaves(values, schema):
        try:
            if at(everything, path) == at(values, path):
                untouched.append(path)
        except KeyError:
            untouched.append(path)
    assert untouched == []


@BOTH
def test_every_value_is_used_and_every_used_value_is_there(chart: Path) -> None:
    values, schema = charts.values_of(chart), charts.schema_of(chart)
    used = {tuple(found.split(".")) for text in templates(chart) for found in re.findall(r"\.Values\.([\w.]+)", text)}
    known = set(leaves(values, schema))
    assert {path for path in known if not any(path[: len(one)] == one for one in used)} == set(), "not used"
    for path in used:
        at(values, path)  # KeyError: not declared


@BOTH
def test_schemas_are_closed(chart: Path) -> None:
    open_ones = []

    def look(schema: Any, *path: str) -> None:
        if isinstance(schema, dict):
            if "properties" in schema and schema.get("additionalProperties") is not False and "items" not in path[-2:]:
                open_ones.append(".".join(path))
            for name, inner in schema.items():
                if name != "default":
                    look(inner, *path, name)

    look(charts.schema_of(chart))
    assert open_ones == []


def test_a_misspelt_value_is_refused_by_name() -> None:
    with pytest.raises(HelmFailed, match="'replicaCount' not allowed"):
        render(OPERATOR, {"replicaCount": 2})
    with pytest.raises(HelmFailed, match=r"at '/image': additional properties 'tagg' not allowed"):
        render(OPERATOR, {"image": {"tagg": "1"}})
    with pytest.raises(HelmFailed, match=r"at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'"):
        render(OPERATOR, {"log": {"level": "loud"}})
    with pytest.raises(HelmFailed, match=r"at '/tolerations/0': additional properties 'opertor' not allowed"):
        render(OPERATOR, {"tolerations": [{"opertor": "Exists"}]})
    with pytest.raises(HelmFailed, match=r"at '/endpoints/one/spec/model': additional properties 'name' not allowed"):
        render(ENDPOINTS, {"endpoints": {"one": {"spec": {"model": {"name": "demo"}}}}})
    with pytest.raises(HelmFailed, match=r"at '/endpoints/one/spec/gpu/class': value must be one of 'auto'"):
        render(ENDPOINTS, {"endpoints": {"one": {"spec": {"model": {"id": "demo"}, "gpu": {"class": "t5"}}}}})


@pytest.mark.parametrize(
    "values",
    [{where: {"bad key": "1"}} for where in ("commonLabels", "podLabels", "podAnnotations", "nodeSelector")]
    + [{"defaults": {where: {"bad key": "1"}}} for where in ("podLabels", "podAnnotations", "nodeSelector")]
    + [{"defaults": {"podLabels": {"a": "b c"}}}, {"image": {"repository": "https://reg.example/x"}}]
    + [
        {"server": {"image": {kind: {"repository": repository}}}}
        for kind in ("gpu", "cpu")
        for repository in ("a//b", "a:1")
    ],
    ids=str,
)
def test_a_key_or_a_value_that_kubernetes_refuses_is_refused_at_once(values: dict[str, Any]) -> None:
    with pytest.raises(HelmFailed, match="does not match pattern"):
        render(OPERATOR, values)


def test_a_parent_chart_may_share_and_switch() -> None:
    for chart in (OPERATOR, ENDPOINTS):
        render(chart, {"global": {"anything": 1}, "enabled": True})


def test_the_chart_sets_every_setting_of_the_operator() -> None:
    settings = {field.name for field in dataclasses.fields(Settings)} - NOT_IN_PODS - {"defaults"}
    assert set(environment(render(OPERATOR))) == {name.upper() for name in settings} | {"DEFAULTS_FILE"}
    assert settings == set(SETTING_OF.values()) | PUT_TOGETHER


def test_what_is_not_given_is_what_the_operator_takes_by_itself() -> None:
    values = charts.values_of(OPERATOR)
    own = Settings(server_image_gpu="gpu", server_image_cpu="cpu")
    assert settings_from(render(OPERATOR)) == dataclasses.replace(
        own,
        server_image_gpu="ghcr.io/whisper-operator/whisper-server:0.1.0-gpu",
        server_image_cpu="ghcr.io/whisper-operator/whisper-server:0.1.0-cpu",
        operator_namespace="whisper-system",
        lease_name="wo-whisper-operator",
        identity="pod-1",
    )
    for value, name in SETTING_OF.items():
        given, taken = at(values, tuple(value.split("."))), getattr(own, name)
        assert (tuple(given) if isinstance(given, list) else given) == taken, value


def test_every_value_reaches_the_operator() -> None:
    everything = yaml.safe_load((OPERATOR / "ci/all-values.yaml").read_text())
    settings = settings_from(render(OPERATOR, OPERATOR / "ci/all-values.yaml"))
    for value, name in SETTING_OF.items():
        given, read = at(everything, tuple(value.split("."))), getattr(settings, name)
        assert (tuple(given) if isinstance(given, list) else given) == read, value
    for field in dataclasses.fields(Defaults):
        given, read = everything["defaults"][camel_case(field.name)], getattr(settings.defaults, field.name)
        assert (tuple(given) if isinstance(given, list) else given) == read, field.name


def test_the_operator_takes_what_the_schema_allows_and_no_less() -> None:
    schema = charts.schema_of(OPERATOR)
    for value, name in SETTING_OF.items():
        limits = schema
        for part in value.split("."):
            limits = limits["properties"][part]
        parse = next(field.metadata["parse"] for field in dataclasses.fields(Settings) if field.name == name)
        for word in limits.get("enum", []):
            assert word == "" or parse(word) == word
        for bound, beyond in (("minimum", -0.05), ("maximum", 1)):
            if bound in limits:
                assert parse(str(limits[bound])) == limits[bound]
                with pytest.raises(ValueError, match="number"):
                    parse(str(limits[bound] + beyond))


@pytest.mark.parametrize(("value", "name"), [(one, SETTING_OF[one]) for one in SETTING_OF if one.startswith("policy.")])
def test_policy_has_one_grammar_in_chart_and_operator(value: str, name: str) -> None:
    limits = charts.schema_of(OPERATOR)["properties"]["policy"]["properties"][value.removeprefix("policy.")]["items"]
    parse = next(field.metadata["parse"] for field in dataclasses.fields(Settings) if field.name == name)
    words = (
        "a.example",
        "a.example:5000/b/c_d",
        "localhost",
        "host:80",
        "host",
        "a.example/",
        "A/b",
        "*-snippet",
        "[a]",
    )
    taken = set()
    for word in words:
        with contextlib.suppress(ValueError):
            taken.update(parse(word))
    assert taken == {word for word in words if re.search(limits["pattern"], word)}
    assert 0 < len(taken) < len(words)


def test_defaults_are_those_of_the_operator() -> None:
    own = {camel_case(field.name): getattr(Defaults(), field.name) for field in dataclasses.fields(Defaults)}
    given = charts.values_of(OPERATOR)["defaults"]
    assert given == {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}


def test_null_leaves_the_group_to_the_platform() -> None:
    assert settings_from(render(OPERATOR, OPERATOR / "ci/openshift-values.yaml")).defaults.fs_group is None


def test_a_wrong_default_stops_the_operator_by_name() -> None:
    with pytest.raises(StartError, match="hfEndpoints is unknown"):
        Settings.from_env(
            {"SERVER_IMAGE_GPU": "a", "SERVER_IMAGE_CPU": "b", "DEFAULTS_FILE": "f"},
            lambda _: json.dumps({"hfEndpoints": ""}),
        )


@BOTH
def test_versions_are_one(chart: Path) -> None:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == whisper_operator.__version__ == whisper_server.__version__


def test_artifact_hub_annotations_list_what_the_chart_has() -> None:
    about = {
        name.removeprefix("artifacthub.io/"): yaml.safe_load(text)
        for name, text in yaml.safe_load((OPERATOR / "Chart.yaml").read_text())["annotations"].items()
    }
    documents = render(OPERATOR)
    pod = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    settings = settings_from(documents)
    images = {one["name"]: one["image"] for one in about["images"]}
    assert images == {
        "whisper-operator": pod["image"],
        "whisper-server-gpu": settings.server_image_gpu,
        "whisper-server-cpu": settings.server_image_cpu,
    }
    (crd,) = about["crds"]
    assert (crd["kind"], crd["name"], crd["version"]) == (names.KIND, names.CRD_NAME, names.VERSION)
    for example in about["crdsExamples"]:
        parse_endpoint(example | {"metadata": example["metadata"] | {"namespace": "default", "uid": "1"}})


def test_rights_are_for_what_the_operator_works_with() -> None:
    rules = only(render(OPERATOR), "ClusterRole", "wo-whisper-operator")["rules"]
    children = {(kind.group, kind.plural) for kind in kinds.CHILDREN}
    writable = {
        (group, resource)
        for rule in rules
        if "delete" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert writable == children
    for document in render(OPERATOR, OPERATOR / "ci/everything-on-values.yaml"):
        for rule in document.get("rules", []):
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            if "secrets" in rule["resources"]:
                assert rule["verbs"] == ["get"]


def test_namespaced_mode_makes_nothing_in_the_cluster_at_large() -> None:
    documents = render(OPERATOR, OPERATOR / "ci/namespaced-values.yaml")
    assert [one for one in documents if "namespace" not in one["metadata"]] == []


@BOTH
def test_helm_finds_nothing_to_say(chart: Path) -> None:
    for values in sorted((chart / "ci").glob("*.yaml")):
        charts.helm("lint", "--strict", str(chart), f"--values={values}")


@BOTH
def test_suites_of_helm_unittest_pass(chart: Path) -> None:
    command = [str(tools.path("helm-unittest")), "--strict", str(chart)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Snapshot:" in done.stdout
    assert "obsolete" not in done.stdout


@BOTH
def test_a_packed_chart_holds_what_it_needs_and_no_more(chart: Path, tmp_path: Path) -> None:
    charts.helm("package", str(chart), f"--destination={tmp_path}")
    (packed,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "tzf", str(packed)], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in listed if re.match(rf"{chart.name}/(ci|tests)/", name)]
    assert sorted(map(str, render(packed, chart / "ci/all-values.yaml"))) == sorted(
        map(str, render(chart, chart / "ci/all-values.yaml"))
    )
