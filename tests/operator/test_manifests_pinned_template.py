"""What restarts pods, and what does not: their settings do, a newer operator does not."""

from __future__ import annotations

import base64
import copy
import json
import random
import string
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

import whisper_operator
from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from whisper_operator.manifests import make_children
from whisper_operator.manifests import pinned_template as kept
from whisper_operator.resource.declared import declared_fields, is_section
from whisper_operator.resource.spec import Endpoint, Spec
from whisper_operator.settings import Settings

Document = dict[str, Any]

HASH = "whisper-operator.io/settings-hash"
REMEMBERED = "whisper-operator.io/pod-template"
GATEWAY = {"parentRefs": [{"name": "edge"}]}
CLAIM = {"size": "1Gi"}


def deployment(
    endpoint: Endpoint,
    settings: Settings | None = None,
    deployed: Document | None = None,
    jobs: tuple[Document, ...] = (),
) -> Document:
    made = make_children(
        endpoint,
        settings or operator_settings(),
        served_kinds=frozenset({"ResourceClaimTemplate"}),
        ingress_controller="",
        deployed=deployed,
        jobs=jobs,
    )
    if not jobs and (preload := [child for child in made if child["kind"] == "Job"]):
        done = {**preload[0], "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
        return deployment(endpoint, settings, deployed, (done,))
    (found,) = [child for child in made if child["kind"] == "Deployment"]
    return found


def template(spec: Document, **settings: Any) -> tuple[Document, str]:
    """The pods' template without its digest, and the digest."""
    found: Document = deployment(parsed_endpoint(spec), operator_settings(**settings))["spec"]["template"]
    return found, found["metadata"]["annotations"].pop(HASH)


def ingress(**fields: Any) -> Document:
    return {"exposure": {"ingress": fields}}


def gateway(**fields: Any) -> Document:
    return {"exposure": {"gateway": {**GATEWAY, **fields}}}


def scaled(**fields: Any) -> Document:
    return {"autoscaling": {"maxReplicas": 3, "metric": "queue", "target": 10, **fields}}


def packed(text: bytes) -> str:
    return base64.b64encode(zlib.compress(text)).decode()


def claim(**fields: Any) -> Document:
    return {"cache": {"persistentVolumeClaim": {**CLAIM, **fields}}}


CPU: Document = {"gpu": {"class": "none"}}
FOR_PODS: dict[str, tuple[Document, Document]] = {
    "model.id": ({}, {"model": {"id": "openai/whisper-tiny"}}),
    "model.revision": ({}, {"model": {"revision": "v2"}}),
    "model.servedNames": ({}, {"model": {"servedNames": ["a"]}}),
    "model.tokenSecretRef.name": (
        {"model": {"tokenSecretRef": {"name": "a"}}},
        {"model": {"tokenSecretRef": {"name": "b"}}},
    ),
    "model.tokenSecretRef.key": (
        {"model": {"tokenSecretRef": {"name": "a"}}},
        {"model": {"tokenSecretRef": {"name": "a", "key": "b"}}},
    ),
    "gpu.class": ({}, {"gpu": {"class": "t4"}}),
    "gpu.resourceName": ({}, {"gpu": {"resourceName": "nvidia.com/mig-1g.5gb"}}),
    "gpu.deviceClassName": ({}, {"gpu": {"deviceClassName": "gpu.nvidia.com"}}),
    "gpu.minMemoryGiB": ({}, {"gpu": {"minMemoryGiB": 10}}),
    "gpu.shared": ({}, {"gpu": {"shared": True}}),
    "engine.type": ({}, {"engine": {"type": "vllm"}}),
    "engine.dtype": ({}, {"engine": {"dtype": "half"}}),
    "engine.kvCacheDtype": ({}, {"engine": {"kvCacheDtype": "fp8"}}),
    "engine.attentionBackend": ({}, {"engine": {"attentionBackend": "FLASHINFER"}}),
    "engine.maxBatchedTokens": ({}, {"engine": {"maxBatchedTokens": 3000}}),
    "engine.gpuMemoryUtilization": ({}, {"engine": {"gpuMemoryUtilization": 0.5}}),
    "transcription.languageForce": ({}, {"transcription": {"languageForce": "fa"}}),
    "transcription.timestamps": ({}, {"transcription": {"timestamps": "none"}}),
    "transcription.maxAudioSeconds": ({}, {"transcription": {"maxAudioSeconds": 60}}),
    "transcription.diarization.enabled": ({}, {"transcription": {"diarization": {"enabled": True}}}),
    "transcription.segmentDurationSeconds": ({}, {"transcription": {"segmentDurationSeconds": 20}}),
    "access.apiKeysSecretRef.name": ({}, {"access": {"apiKeysSecretRef": {"name": "keys"}}}),
    "access.maxUploadBytes": ({}, {"access": {"maxUploadBytes": 4096}}),
    "access.quotas.maxRequests": ({}, {"access": {"quotas": {"maxRequests": 5}}}),
    "access.quotas.maxAudioSecondsPerMinute": ({}, {"access": {"quotas": {"maxAudioSecondsPerMinute": 5}}}),
    "access.quotas.maxBytes": ({}, {"access": {"quotas": {"maxBytes": 2**30}}}),
    "access.realtime.maxSessions": ({}, {"access": {"realtime": {"maxSessions": 5}}}),
    "access.realtime.idleSeconds": ({}, {"access": {"realtime": {"idleSeconds": 5}}}),
    "access.webPage": ({}, {"access": {"webPage": False}}),
    "access.trustedProxies": ({}, {"access": {"trustedProxies": ["10.0.0.0/8"]}}),
    "access.maxQueueSeconds": ({}, {"access": {"maxQueueSeconds": 5}}),
    "exposure.ingress.path": (ingress(), ingress(path="/speech")),
    "exposure.gateway.path": (gateway(), gateway(path="/speech")),
    "model.sha256": ({"model": {"id": "https://h/a.tar"}}, {"model": {"id": "https://h/a.tar", "sha256": "0" * 64}}),
    "model.pullSecretRef.name": (
        {"model": {"id": "oci://r.example/a/b:1", "pullSecretRef": {"name": "a"}}},
        {"model": {"id": "oci://r.example/a/b:1", "pullSecretRef": {"name": "b"}}},
    ),
    "model.s3.endpointUrl": (
        {"model": {"id": "s3://models/a"}},
        {"model": {"id": "s3://models/a", "s3": {"endpointUrl": "https://minio.example.com"}}},
    ),
    "model.s3.region": (
        {"model": {"id": "s3://models/a"}},
        {"model": {"id": "s3://models/a", "s3": {"region": "eu-central-1"}}},
    ),
    "model.s3.credentialsSecretRef.name": (
        {"model": {"id": "s3://models/a", "s3": {"credentialsSecretRef": {"name": "a"}}}},
        {"model": {"id": "s3://models/a", "s3": {"credentialsSecretRef": {"name": "b"}}}},
    ),
    "cache.emptyDir.sizeLimit": ({}, {"cache": {"emptyDir": {"sizeLimit": "5Gi"}}}),
    "cache.existingClaim": ({}, {"cache": {"existingClaim": "mine"}}),
    "cache.image.reference": ({}, {"cache": {"image": {"reference": "models:1"}}}),
    "cache.image.pullPolicy": (
        {"cache": {"image": {"reference": "models:1"}}},
        {"cache": {"image": {"reference": "models:1", "pullPolicy": "Always"}}},
    ),
    "rollout.startupSeconds": ({}, {"rollout": {"startupSeconds": 60}}),
    "rollout.drainSeconds": ({}, {"rollout": {"drainSeconds": 5}}),
    "rollout.shutdownSeconds": ({}, {"rollout": {"shutdownSeconds": 5}}),
    "pod.image": ({}, {"pod": {"image": "mine:1"}}),
    "pod.imagePullPolicy": ({}, {"pod": {"imagePullPolicy": "Always"}}),
    "pod.imagePullSecrets": ({}, {"pod": {"imagePullSecrets": [{"name": "a"}]}}),
    "pod.resources": ({}, {"pod": {"resources": {"requests": {"cpu": "7"}}}}),
    "pod.nodeSelector": ({}, {"pod": {"nodeSelector": {"a": "b"}}}),
    "pod.affinity": ({}, {"pod": {"affinity": {"podAntiAffinity": {}}}}),
    "pod.tolerations": ({}, {"pod": {"tolerations": [{"operator": "Exists"}]}}),
    "pod.topologySpreadConstraints": ({}, {"pod": {"topologySpreadConstraints": [{"maxSkew": 1}]}}),
    "pod.priorityClassName": ({}, {"pod": {"priorityClassName": "high"}}),
    "pod.runtimeClassName": ({}, {"pod": {"runtimeClassName": "nvidia"}}),
    "pod.serviceAccountName": ({}, {"pod": {"serviceAccountName": "mine"}}),
    "pod.fsGroup": ({}, {"pod": {"fsGroup": 7}}),
    "pod.labels": ({}, {"pod": {"labels": {"a": "b"}}}),
    "pod.annotations": ({}, {"pod": {"annotations": {"a": "b"}}}),
    "pod.schedulerName": ({}, {"pod": {"schedulerName": "mine"}}),
    "pod.hostAliases": ({}, {"pod": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["hub"]}]}}),
    "pod.dnsConfig": ({}, {"pod": {"dnsConfig": {"searches": ["a.example"]}}}),
    "pod.volumes": ({}, {"pod": {"volumes": [{"name": "a", "emptyDir": {}}]}}),
    "pod.volumeMounts": ({}, {"pod": {"volumeMounts": [{"name": "a", "mountPath": "/data"}]}}),
    "pod.securityContext.runAsUser": ({}, {"pod": {"securityContext": {"runAsUser": 1000}}}),
    "pod.securityContext.runAsGroup": ({}, {"pod": {"securityContext": {"runAsGroup": 1000}}}),
    "pod.initContainers": ({}, {"pod": {"initContainers": [{"name": "fetch", "image": "fetch:1"}]}}),
    "pod.sidecars": ({}, {"pod": {"sidecars": [{"name": "proxy", "image": "proxy:1"}]}}),
    "commonLabels": ({}, {"commonLabels": {"a": "b"}}),
    "commonAnnotations": ({}, {"commonAnnotations": {"a": "b"}}),
    "pod.env": ({}, {"pod": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}),
}
BESIDE_PODS: dict[str, tuple[Document, Document]] = {
    "access.networkPolicy.enabled": ({}, {"access": {"networkPolicy": {"enabled": False}}}),
    "access.networkPolicy.egress": ({}, {"access": {"networkPolicy": {"egress": "none"}}}),
    "access.networkPolicy.from": ({}, {"access": {"networkPolicy": {"from": [{"podSelector": {}}]}}}),
    "access.networkPolicy.to": ({}, {"access": {"networkPolicy": {"egress": "none", "to": [{"podSelector": {}}]}}}),
    "service.type": ({}, {"service": {"type": "NodePort"}}),
    "service.loadBalancerClass": ({}, {"service": {"type": "LoadBalancer", "loadBalancerClass": "a"}}),
    "service.loadBalancerSourceRanges": ({}, {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}),
    "service.annotations": ({}, {"service": {"annotations": {"a": "b"}}}),
    "exposure.ingress.className": (ingress(), ingress(className="nginx")),
    "exposure.ingress.host": (ingress(), ingress(host="a.example")),
    "exposure.ingress.tls.secretName": (ingress(host="a"), ingress(host="a", tls={"secretName": "b"})),
    "exposure.ingress.annotations": (ingress(), ingress(annotations={"a": "b"})),
    "exposure.gateway.parentRefs": (gateway(), gateway(parentRefs=[{"name": "other"}])),
    "exposure.gateway.hostnames": (gateway(), gateway(hostnames=["a.example"])),
    "replicas": ({}, {"replicas": 4}),
    "suspend": ({}, {"suspend": True}),
    "autoscaling.minReplicas": (scaled(), scaled(minReplicas=2)),
    "autoscaling.maxReplicas": ({}, scaled()),
    "autoscaling.metric": (scaled(), scaled(metric="cpu")),
    "autoscaling.behavior": (scaled(), scaled(behavior={"scaleUp": {"selectPolicy": "Min"}})),
    "autoscaling.target": (scaled(), scaled(target=20)),
    "cache.preload": (claim(), {"cache": {"persistentVolumeClaim": CLAIM, "preload": True}}),
    "cache.persistentVolumeClaim.size": (claim(), claim(size="2Gi")),
    "cache.persistentVolumeClaim.storageClassName": (claim(), claim(storageClassName="fast")),
    "cache.persistentVolumeClaim.accessModes": (claim(), claim(accessModes=["ReadWriteMany"])),
    "disruptionBudget.enabled": ({}, {"disruptionBudget": {"enabled": False}}),
    "disruptionBudget.maxUnavailable": ({}, {"disruptionBudget": {"maxUnavailable": "25%"}}),
    "rollout.maxSurge": ({}, {"rollout": {"maxSurge": 2}}),
    "rollout.maxUnavailable": ({}, {"rollout": {"maxUnavailable": 2}}),
    "(an empty folder said aloud)": ({}, {"cache": {"emptyDir": {}}}),
    "(a page that is shown outside)": ({}, {"access": {"webPage": True}}),
    "(a route at the root)": ({}, ingress()),
    "(defaults said aloud)": ({}, {"gpu": {"class": "auto", "shared": False}, "model": {"revision": "main"}}),
}


def leaves(cls: type, path: str = "") -> Iterator[str]:
    for field in declared_fields(cls):
        below = f"{path}{field.name}"
        if is_section(field.type):
            yield from leaves(field.type, f"{below}.")
        else:
            yield below


def test_every_field_of_the_spec_is_covered_by_these_tests() -> None:
    assert set(leaves(Spec)) == {path for path in FOR_PODS | BESIDE_PODS if not path.startswith("(")}


@pytest.mark.parametrize("path", FOR_PODS)
def test_changed_pod_setting_restarts_the_pods(path: str) -> None:
    before, after = FOR_PODS[path]
    old, old_digest = template(before)
    new, new_digest = template(after)
    assert old != new
    assert old_digest != new_digest


@pytest.mark.parametrize("path", BESIDE_PODS)
def test_setting_outside_the_pods_restarts_nothing(path: str) -> None:
    before, after = BESIDE_PODS[path]
    assert template(before) == template(after)


def test_move_to_a_claim_restarts_the_pods() -> None:
    assert template({})[1] != template(claim())[1] != template({"cache": {"existingClaim": "mine"}})[1]


@pytest.mark.parametrize(
    ("spec", "settings", "restarts"),
    [
        ({}, {"server_image_gpu": "new:2"}, True),
        ({}, {"server_image_cpu": "new:2"}, False),
        (CPU, {"server_image_cpu": "new:2"}, True),
        (CPU, {"server_image_gpu": "new:2"}, False),
        ({"pod": {"image": "mine:1"}}, {"server_image_gpu": "new:2"}, False),
        ({"pod": {"image": "mine:1"}}, {"defaults": {"image_registry": "mirror.example"}}, True),
        ({}, {"defaults": {"image_registry": "mirror.example"}}, False),
        ({"cache": {"image": {"reference": "m:1"}}}, {"defaults": {"image_registry": "mirror.example"}}, True),
        ({}, {"defaults": {"image_pull_policy": "Always"}}, True),
        ({}, {"defaults": {"image_pull_secrets": ("a",)}}, True),
        ({}, {"defaults": {"http_proxy": "http://a"}}, True),
        ({}, {"defaults": {"https_proxy": "http://a"}}, True),
        ({}, {"defaults": {"no_proxy": "a"}}, True),
        ({}, {"defaults": {"ca_bundle_config_map": "a"}}, True),
        ({}, {"defaults": {"hf_endpoint": "https://a"}}, True),
        ({}, {"defaults": {"offline": True}}, True),
        ({}, {"defaults": {"tolerations": ({"operator": "Exists"},)}}, True),
        ({}, {"defaults": {"node_selector": {"a": "b"}}}, True),
        ({}, {"defaults": {"fs_group": None}}, True),
        ({}, {"defaults": {"pod_annotations": {"a": "b"}}}, True),
        ({}, {"defaults": {"pod_labels": {"a": "b"}}}, True),
        ({}, {"defaults": {"env": ({"name": "A", "value": "b"},)}}, True),
        ({}, {"monitoring_namespace": "monitoring"}, False),
        ({}, {"pod_monitors": False, "pod_monitor_labels": {"a": "b"}, "cluster_domain": "example"}, False),
        ({}, {"workers": 1, "identity": "me", "ingress_controller": "nginx", "log_level": "debug"}, False),
    ],
)
def test_operator_defaults_restart_only_affected_pods(spec: Document, settings: Document, restarts: bool) -> None:
    old, old_digest = template(spec)
    new, new_digest = template(spec, **settings)
    assert (old != new) == restarts
    assert (old_digest != new_digest) == restarts


def test_pod_template_holds_no_operator_version() -> None:
    text = str(deployment(parsed_endpoint()))
    assert whisper_operator.__version__ not in text.replace("registry.example/whisper-server:1.0.0", "")
    assert "helm" not in text


def as_an_older_operator_wrote_it(endpoint: Endpoint) -> Document:
    """Deployed by an operator that wrote another template for the same settings."""
    older = deployment(endpoint)
    older["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = 99
    older["metadata"]["annotations"][REMEMBERED] = kept.as_text(older["spec"]["template"])
    return older


def test_operator_upgrade_keeps_the_pinned_template() -> None:
    endpoint = parsed_endpoint({"gpu": {"class": "t4"}})
    older = as_an_older_operator_wrote_it(endpoint)
    assert deployment(endpoint, deployed=older) == older
    assert deployment(endpoint)["spec"]["template"] != older["spec"]["template"]


def changed(field: str, value: Any) -> Document:
    """A pod template with `value` at `field`; of a list, `0` is the first item and `+` a further one; `%` is a dot."""
    made: Any = deployment(with_everything())["spec"]["template"]
    at = made
    *parents, last = field.split(".")
    for name in parents:
        at = at[int(name)] if name.isdigit() else at[name]
    if last == "+":
        at.append(value)
    else:
        at[int(last) if last.isdigit() else last.replace("%", ".")] = value
    return dict(made)


def with_everything() -> Endpoint:
    return parsed_endpoint(
        {
            "model": {"tokenSecretRef": {"name": "token"}},
            "access": {"apiKeysSecretRef": {"name": "keys"}},
            "pod": {"resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "LOG_LEVEL", "value": "debug"}]},
        }
    )


def with_annotation_of(template: Document) -> Document:
    """Deployed with the template, in the annotation, too."""
    made = deployment(with_everything())
    made["spec"]["template"] = template
    made["metadata"]["annotations"][REMEMBERED] = kept.as_text(template)
    return made


SERVER = "spec.containers.0"
FROM_SECRET = {"name": "MINE", "valueFrom": {"secretKeyRef": {"name": "other", "key": "password"}}}
PROBE: Document = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5}
EDITS: tuple[tuple[str, Any], ...] = (
    (f"{SERVER}.image", "by-hand:1"),
    (f"{SERVER}.imagePullPolicy", "Never"),
    (f"{SERVER}.command", ["sh", "-c", "env"]),
    (f"{SERVER}.args", ["--help"]),
    (f"{SERVER}.lifecycle", {"postStart": {"exec": {"command": ["env"]}}}),
    (f"{SERVER}.securityContext", {"privileged": True}),
    (f"{SERVER}.securityContext.capabilities", {"add": ["SYS_ADMIN"]}),
    (f"{SERVER}.envFrom", [{"secretRef": {"name": "other"}}]),
    (f"{SERVER}.env.+", FROM_SECRET),
    (f"{SERVER}.env.+", {"name": "LD_PRELOAD", "value": "/scratch/mine.so"}),
    (f"{SERVER}.env.+", {"name": "API_KEYS_DIR", "value": ""}),
    (f"{SERVER}.env.+", {"name": "LANGUAGE_FORCE", "value": "$(HF_TOKEN)"}),
    (f"{SERVER}.env.+", {"name": "ENGINE", "value": "vllm", "valueFrom": FROM_SECRET["valueFrom"]}),
    (f"{SERVER}.env.+", {"name": "ENGINE", "value": 1}),
    (f"{SERVER}.env.+", 1),
    (f"{SERVER}.env", {}),
    (f"{SERVER}.ports.+", {"containerPort": 22, "hostPort": 22}),
    (f"{SERVER}.volumeMounts.+", {"name": "scratch", "mountPath": "/etc"}),
    (f"{SERVER}.readinessProbe", {"exec": {"command": ["env"]}}),
    (f"{SERVER}.readinessProbe", PROBE | {"httpGet": {"host": "10.0.0.1", "path": "/", "port": 80}}),
    (f"{SERVER}.startupProbe", PROBE | {"exec": {"command": ["env"]}}),
    (f"{SERVER}.resources.limits.nvidia%com/gpu", "8"),
    (f"{SERVER}.resources.claims", [{"name": "device"}]),
    (f"{SERVER}.terminationMessagePath", "/etc/passwd"),
    ("spec.containers.+", {"name": "mine", "image": "by-hand:1"}),
    ("spec.initContainers", [{"name": "mine", "image": "by-hand:1"}]),
    ("spec.volumes.+", {"name": "root", "hostPath": {"path": "/"}}),
    ("spec.volumes.+", {"name": "other", "secret": {"secretName": "other"}}),
    ("spec.volumes.0", {"name": "scratch", "hostPath": {"path": "/"}}),
    ("spec.serviceAccountName", "admin"),
    ("spec.automountServiceAccountToken", True),
    ("spec.hostNetwork", True),
    ("spec.hostPID", True),
    ("spec.hostUsers", True),
    ("spec.nodeName", "control-plane-0"),
    ("spec.securityContext", {"runAsUser": 0}),
    ("spec.securityContext.seccompProfile", {"type": "Unconfined"}),
    ("spec.imagePullSecrets", [{"name": "other"}]),
    ("spec.runtimeClassName", "privileged"),
    ("spec.priorityClassName", "system-node-critical"),
    ("spec.tolerations.+", {"operator": "Exists"}),
    ("spec.affinity.podAffinity", {}),
    ("spec.hostAliases", [{"ip": "10.0.0.1", "hostnames": ["huggingface.co"]}]),
    ("spec.a-field-of-the-next-version-of-kubernetes", True),
    ("metadata.labels", {}),
    ("metadata.annotations.sidecar%istio%io/inject", "true"),
    ("metadata.annotations", []),
    ("a-field", {}),
    ("spec", []),
    ("spec.containers", []),
)
TUNED: tuple[tuple[str, Any], ...] = (
    (f"{SERVER}.readinessProbe", PROBE | {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 99}),
    (
        f"{SERVER}.resources",
        {"requests": {"cpu": "3", "memory": "9Gi", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    ),
    (f"{SERVER}.env.+", {"name": "VLLM_MAX_NUM_BATCHED_TOKENS", "value": "16384"}),
    (f"{SERVER}.env.+", {"name": "MEMORY_BUDGET_BYTES", "value": "1000000000"}),
    ("spec.tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]),
    ("spec.affinity", {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
    ("spec.terminationGracePeriodSeconds", 7),
)


@pytest.mark.parametrize(("field", "value"), EDITS, ids=[field for field, _ in EDITS])
def test_edited_annotation_gives_its_author_nothing(field: str, value: Any) -> None:
    edited = with_annotation_of(changed(field, value))
    assert edited != deployment(with_everything())
    assert deployment(with_everything(), deployed=edited) == deployment(with_everything())


@pytest.mark.parametrize(("field", "value"), TUNED, ids=[field for field, _ in TUNED])
def test_template_that_an_older_operator_tuned_is_kept(field: str, value: Any) -> None:
    older = with_annotation_of(changed(field, value))
    assert older != deployment(with_everything())
    assert deployment(with_everything(), deployed=older) == older


def test_template_of_other_settings_is_not_used_with_their_hash() -> None:
    other = template({"pod": {"image": "by-hand:1"}})[0]
    other["metadata"]["annotations"][HASH] = template({})[1]
    deployed = deployment(parsed_endpoint())
    deployed["metadata"]["annotations"][REMEMBERED] = kept.as_text(other)
    assert deployment(parsed_endpoint(), deployed=deployed) == deployment(parsed_endpoint())


def test_template_too_long_for_an_annotation_is_not_pinned() -> None:
    noise = random.Random(0)
    values = ("".join(noise.choices(string.ascii_letters + string.digits, k=8_000)) for _ in range(64))
    long = deployment(parsed_endpoint({"pod": {"env": [{"name": f"X{i}", "value": v} for i, v in enumerate(values)]}}))
    assert REMEMBERED not in long["metadata"].get("annotations", {})
    assert REMEMBERED in deployment(parsed_endpoint())["metadata"]["annotations"]


def test_operator_upgrade_changes_fields_outside_the_template() -> None:
    older = as_an_older_operator_wrote_it(parsed_endpoint())
    scaled_since = deployment(parsed_endpoint({"replicas": 5}), deployed=older)
    assert scaled_since["spec"]["replicas"] == 5
    assert scaled_since["spec"]["template"] == older["spec"]["template"]


def test_changed_setting_replaces_the_pinned_template() -> None:
    older = as_an_older_operator_wrote_it(parsed_endpoint())
    changed = parsed_endpoint({"engine": {"dtype": "half"}})
    assert deployment(changed, deployed=older) == deployment(changed)


def test_new_default_image_counts_as_changed_setting() -> None:
    older = as_an_older_operator_wrote_it(parsed_endpoint())
    settings = operator_settings(server_image_gpu="registry.example/whisper-server:1.1.0")
    new = deployment(parsed_endpoint(), settings, deployed=older)
    assert new == deployment(parsed_endpoint(), settings)


def test_manual_edit_of_the_template_is_reverted() -> None:
    endpoint = parsed_endpoint()
    edited = copy.deepcopy(deployment(endpoint))
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = "by-hand:1"
    assert deployment(endpoint, deployed=edited) == deployment(endpoint)


@pytest.mark.parametrize(
    "text",
    ["", "?", "eA==", packed(b"{}"), packed(b'{"metadata": {"annotations": []}}'), packed(b"[" * 100_000)],
)
def test_malformed_annotation_is_ignored(text: str) -> None:
    endpoint = parsed_endpoint()
    damaged = deployment(endpoint)
    damaged["metadata"]["annotations"][REMEMBERED] = text
    assert deployment(endpoint, deployed=damaged) == deployment(endpoint)


def test_zip_bomb_in_the_annotation_uses_no_memory() -> None:
    endpoint = parsed_endpoint()
    damaged = deployment(endpoint)
    damaged["metadata"]["annotations"][REMEMBERED] = packed(json.dumps("a" * 60_000_000).encode())
    tracemalloc.start()
    try:
        assert deployment(endpoint, deployed=damaged) == deployment(endpoint)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 10_000_000


def test_deployment_without_annotations_has_no_pinned_template() -> None:
    endpoint = parsed_endpoint()
    assert deployment(endpoint, deployed={"metadata": {"name": "speech"}}) == deployment(endpoint)


def test_pinned_template_annotation_is_small() -> None:
    assert len(deployment(parsed_endpoint({"gpu": {"class": "t4"}}))["metadata"]["annotations"][REMEMBERED]) < 4096
