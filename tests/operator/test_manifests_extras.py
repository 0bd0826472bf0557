"""Fields that platform teams ask for: labels of everything, load balancers, the autoscaler's speed, volumes, names of hosts."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import Document, parsed_endpoint
from whisper_operator.manifests import make_children, volumes
from whisper_operator.manifests.scaling import BEHAVIOR
from whisper_operator.resource.required_secrets import pod_secrets
from whisper_operator.resource.volume_rules import OWN_FOLDERS, OWN_VOLUMES

EVERYTHING: Document = {
    "service": {"type": "LoadBalancer"},
    "exposure": {"ingress": {"className": "contour", "host": "a.example.com"}},
    "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
    "autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80},
    "access": {"apiKeysSecretRef": {"name": "keys"}},
}
LABELS = {"cost-center": "a-1"}
NOTES = {"example.com/owner": "speech"}


def children(spec: Document) -> dict[str, Any]:
    served = frozenset({"HTTPRoute", "PodMonitor"})
    settings = operator_settings(defaults={"ca_bundle_config_map": "ca", "pod_labels": {"cost-center": "default"}})
    made = make_children(parsed_endpoint(spec), settings, served_kinds=served, ingress_controller="contour")
    return {child["kind"]: child for child in made}


def pod(spec: Document) -> Any:
    return children({"pod": spec})["Deployment"]["spec"]["template"]["spec"]


def test_common_labels_and_annotations_are_on_every_child_and_pod() -> None:
    found = children({**EVERYTHING, "commonLabels": LABELS, "commonAnnotations": NOTES})
    assert len(found) == 9
    for kind, child in found.items():
        assert LABELS.items() <= child["metadata"]["labels"].items(), kind
        assert NOTES.items() <= child["metadata"]["annotations"].items(), kind
    template = found["Deployment"]["spec"]["template"]["metadata"]
    assert LABELS.items() <= template["labels"].items()
    assert NOTES.items() <= template["annotations"].items()


def test_narrower_fields_win_over_common_ones() -> None:
    spec = {"commonLabels": LABELS, "commonAnnotations": {"a": "all"}, "pod": {"labels": {"cost-center": "b"}}}
    found = children({**spec, "service": {"annotations": {"a": "service"}}})
    assert found["Deployment"]["spec"]["template"]["metadata"]["labels"]["cost-center"] == "b"
    assert found["Deployment"]["metadata"]["labels"]["cost-center"] == "a-1"
    assert found["Service"]["metadata"]["annotations"]["a"] == "service"


def test_common_labels_do_not_change_any_selector() -> None:
    with_labels, without = children({**EVERYTHING, "commonLabels": LABELS}), children(EVERYTHING)
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert with_labels[kind]["spec"]["selector"] == without[kind]["spec"]["selector"]


def test_load_balancer_gets_class_and_source_ranges() -> None:
    wanted = {"loadBalancerClass": "service.k8s.aws/nlb", "loadBalancerSourceRanges": ["203.0.113.0/24"]}
    found = children({"service": {"type": "LoadBalancer", **wanted}})["Service"]["spec"]
    assert wanted.items() <= found.items()
    assert not wanted.keys() & children({})["Service"]["spec"].keys()


def test_sessions_scale_by_keda_where_it_can_ask_prometheus() -> None:
    by_sessions = {"autoscaling": {"minReplicas": 2, "maxReplicas": 9, "metric": "sessions", "target": 12}}
    served = frozenset({"ScaledObject"})
    settings = operator_settings(prometheus_url="http://prometheus:9090")
    made = {
        child["kind"]: child.get("spec")
        for child in make_children(parsed_endpoint(by_sessions), settings, served_kinds=served, ingress_controller="")
    }
    assert "HorizontalPodAutoscaler" not in made
    scaled = made["ScaledObject"]
    assert scaled is not None
    assert scaled["scaleTargetRef"]["kind"] == "WhisperEndpoint"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 9)
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == BEHAVIOR
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"] == {
        "serverAddress": "http://prometheus:9090",
        "query": 'sum(whisper_realtime_sessions{namespace="team-a",whisper_endpoint="speech"})',
        "threshold": "12",
    }


@pytest.mark.parametrize(
    ("metric", "served", "url"),
    [("sessions", "", "http://p"), ("sessions", "ScaledObject", ""), ("cpu", "ScaledObject", "http://p")],
)
def test_other_endpoints_scale_without_keda(metric: str, served: str, url: str) -> None:
    scaled = parsed_endpoint({"autoscaling": {"maxReplicas": 9, "metric": metric, "target": 12}})
    settings = operator_settings(prometheus_url=url)
    made = make_children(scaled, settings, served_kinds=frozenset({served}), ingress_controller="")
    (found,) = (child for child in made if child["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"})
    assert found["kind"] == "HorizontalPodAutoscaler"
    if metric == "sessions":
        assert found["spec"]["metrics"][0]["pods"]["metric"]["name"] == "whisper_realtime_sessions"


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"scaleDown": {"stabilizationWindowSeconds": 60}},
        {"scaleUp": {"policies": [{"type": "Pods", "value": 9, "periodSeconds": 15}]}},
        {"scaleUp": {"selectPolicy": "Min"}, "scaleDown": {"selectPolicy": "Disabled"}},
    ],
)
def test_autoscaler_keeps_its_own_speed_in_what_the_spec_leaves_out(own: Document) -> None:
    scaled = {**EVERYTHING, "autoscaling": {**EVERYTHING["autoscaling"], "behavior": own}}
    found = children(scaled)["HorizontalPodAutoscaler"]["spec"]["behavior"]
    assert found == {way: {**parts, **own.get(way, {})} for way, parts in BEHAVIOR.items()}


def test_pod_gets_scheduler_host_names_and_dns() -> None:
    wanted = {
        "schedulerName": "volcano",
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["hub.example.com"]}],
        "dnsConfig": {"searches": ["example.com"]},
    }
    assert wanted.items() <= pod(wanted).items()
    assert not wanted.keys() & pod({}).keys()


def test_volumes_come_after_those_of_the_operator() -> None:
    volume, mount = {"name": "words", "configMap": {"name": "words"}}, {"name": "words", "mountPath": "/etc/words"}
    before, after = pod({}), pod({"volumes": [volume], "volumeMounts": [mount]})
    assert after["volumes"] == [*before["volumes"], volume]
    (container,), (plain,) = after["containers"], before["containers"]
    assert container["volumeMounts"] == [*plain["volumeMounts"], mount]


def test_rules_know_the_volumes_and_folders_of_the_operator() -> None:
    spec = {**EVERYTHING, "gpu": {"class": "t4"}}
    claimed = children(spec)["Deployment"]["spec"]["template"]["spec"]
    of_image = children({"model": {"id": "/models/a"}, "cache": {"image": {"reference": "m:1"}}})["Deployment"]
    of_image = of_image["spec"]["template"]["spec"]
    of_registry = children({"model": {"id": "oci://r.example/a:1", "pullSecretRef": {"name": "pull"}}})["Deployment"]
    of_registry = of_registry["spec"]["template"]["spec"]
    found = {volume["name"] for each in (claimed, of_image, of_registry) for volume in each["volumes"]}
    assert found == set(OWN_VOLUMES)
    paths = {mount["mountPath"] for each in (claimed, of_image) for mount in each["containers"][0]["volumeMounts"]}
    assert {path for path in paths if not path.startswith(OWN_FOLDERS)} == {volumes.IMAGE}


def test_secret_of_a_volume_is_required_unless_it_is_optional() -> None:
    for optional in (False, True):
        secret = {"secretName": "words", "optional": optional, "items": [{"key": "a", "path": "a"}]}
        spec = {"pod": {"volumes": [{"name": "words", "secret": secret}]}}
        found = [(each.field, each.name, each.keys) for each in pod_secrets(parsed_endpoint(spec))]
        assert found == ([] if optional else [("pod.volumes[0]", "words", ("a",))])


def test_disruption_budget_is_as_the_spec_says_or_absent() -> None:
    assert children({})["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    wanted = children({"disruptionBudget": {"maxUnavailable": "25%"}})["PodDisruptionBudget"]["spec"]
    assert wanted["maxUnavailable"] == "25%"
    assert "PodDisruptionBudget" not in children({"disruptionBudget": {"enabled": False}})
