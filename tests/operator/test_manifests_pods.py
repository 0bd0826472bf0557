"""Parts of the pods, case by case: placement, environment, resources, volumes, times, images."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import CPU_IMAGE, GPU_IMAGE, operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.node_affinity import fits
from whisper_operator.errors import SpecError
from whisper_operator.gpus import node_selector_terms
from whisper_operator.manifests import make_children, resolve
from whisper_operator.manifests.documents import from_registry
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Gpu
from whisper_operator.resource.status import Resolved

Document = dict[str, Any]
CPU: Document = {"gpu": {"class": "none"}}
T4: Document = {"gpu": {"class": "t4"}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ZONE_A = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
THIS_NODE = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}


LINUX = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
AMD64 = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}


def on_amd64(terms: list[Document]) -> list[Document]:
    return [{"matchExpressions": [LINUX, AMD64, *term["matchExpressions"]]} for term in terms]


def deployment_spec(spec: Document, **settings: Any) -> Document:
    made = make_children(
        parsed_endpoint(spec), operator_settings(**settings), served_kinds=frozenset(), ingress_controller=""
    )
    (found,) = [child["spec"] for child in made if child["kind"] == "Deployment"]
    return dict(found)


def pod(spec: Document, **settings: Any) -> Document:
    return dict(deployment_spec(spec, **settings)["template"]["spec"])


def container(spec: Document, **settings: Any) -> Document:
    (found,) = pod(spec, **settings)["containers"]
    return dict(found)


def env(spec: Document, **settings: Any) -> dict[str, str]:
    return {each["name"]: each.get("value", "(reference)") for each in container(spec, **settings)["env"]}


def affinity_with(spec: Document, affinity: Document) -> Document:
    return dict(pod({**spec, "pod": {"affinity": affinity}})["affinity"])


def test_node_terms_of_spec_and_class_must_both_match() -> None:
    terms = affinity_with(T4, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE_A, THIS_NODE]}}})
    ours = on_amd64(node_selector_terms(Gpu(class_=GpuClass.T4)))
    assert len(ours) == 7
    expected = []
    for term in ours:
        expected.append({"matchExpressions": [*term["matchExpressions"], *ZONE_A["matchExpressions"]]})
        expected.append({"matchExpressions": term["matchExpressions"], "matchFields": THIS_NODE["matchFields"]})
    assert terms["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == expected


def test_other_affinity_of_the_spec_is_kept() -> None:
    preferred = [{"weight": 1, "preference": ZONE_A}]
    apart = {REQUIRED: [{"topologyKey": "kubernetes.io/hostname"}]}
    found = affinity_with(T4, {"nodeAffinity": {PREFERRED: preferred}, "podAntiAffinity": apart})
    assert found["podAntiAffinity"] == apart
    assert found["nodeAffinity"][PREFERRED] == preferred
    assert found["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == on_amd64(
        node_selector_terms(Gpu(class_=GpuClass.T4))
    )


def test_cpu_endpoint_prefers_nodes_without_gpus_after_its_own_preferences() -> None:
    preferred = [{"weight": 5, "preference": ZONE_A}]
    node = affinity_with(CPU, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE_A]}, PREFERRED: preferred}})
    (term,) = node["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [LINUX, AMD64, *ZONE_A["matchExpressions"]]}
    first, ours = node["nodeAffinity"][PREFERRED]
    assert first == preferred[0]
    assert ours["weight"] == 1
    for labels in ({"nvidia.com/gpu.present": "true"}, {"node.kubernetes.io/instance-type": "g4dn.xlarge"}):
        assert not fits(ours["preference"], labels)
    assert fits(ours["preference"], {"node.kubernetes.io/instance-type": "m5.large"})


@pytest.mark.parametrize("spec", [CPU, T4, {}], ids=["cpu", "t4", "auto"])
def test_every_pod_asks_for_the_images_platform(spec: Document) -> None:
    for term in pod(spec)["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]:
        assert {"kubernetes.io/os", "kubernetes.io/arch"} <= {each["key"] for each in term["matchExpressions"]}


def test_node_selector_decides_the_architecture_of_an_image() -> None:
    arm = {**CPU, "pod": {"image": "registry.example/mine:1", "nodeSelector": {"kubernetes.io/arch": "arm64"}}}
    (term,) = pod(arm)["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [LINUX]


def test_empty_node_term_is_refused() -> None:
    terms = affinity_with(T4, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}, ZONE_A]}}})
    assert len(terms["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]) == len(
        node_selector_terms(Gpu(class_=GpuClass.T4))
    )
    with pytest.raises(SpecError, match=r"spec\.pod\.affinity\.nodeAffinity\..*fits no node"):
        affinity_with(T4, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}]}}})


def test_equal_toleration_is_not_repeated() -> None:
    ours = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    of_aks = {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}
    other = {"key": "dedicated", "operator": "Exists"}
    found = pod({"pod": {"tolerations": [ours, other]}}, defaults={"tolerations": (of_aks, other)})
    assert found["tolerations"] == [ours, of_aks, other]


def test_spread_constraint_keeps_its_selector() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    assert pod({"pod": {"topologySpreadConstraints": [constraint]}})["topologySpreadConstraints"] == [constraint]


def test_fs_group_is_absent_if_the_platform_chooses() -> None:
    assert pod({}, defaults={"fs_group": None})["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod({"pod": {"fsGroup": 0}})["securityContext"]["fsGroup"] == 0


def test_labels_of_the_operator_override_the_spec() -> None:
    labels = {"whisper-operator.io/endpoint": "other", "app.kubernetes.io/name": "other", "team": "a"}
    metadata = deployment_spec({"pod": {"labels": labels}})["template"]["metadata"]
    assert metadata["labels"]["whisper-operator.io/endpoint"] == "speech"
    assert metadata["labels"]["app.kubernetes.io/name"] == "whisper-server"
    assert metadata["labels"]["team"] == "a"


@pytest.mark.parametrize(
    ("gpu_class", "expected"),
    [
        ("auto", {}),
        ("none", {"ENGINE": "ctranslate2"}),
        *((gpu_class, {"ENGINE": "vllm"}) for gpu_class in ("t4", "ampere", "ada", "blackwell")),
        ("hopper", {"ENGINE": "torch"}),
    ],
)
def test_gpu_class_decides_the_engine_and_nothing_else(gpu_class: str, expected: dict[str, str]) -> None:
    found = env({"gpu": {"class": gpu_class}})
    kept = {name: value for name, value in found.items() if name.startswith(("ENGINE", "DTYPE", "VLLM_"))}
    kept.pop("VLLM_CACHE_ROOT")
    assert kept == expected


def test_engine_fields_of_the_spec_reach_the_server() -> None:
    engine = {
        "type": "vllm",
        "dtype": "float32",
        "kvCacheDtype": "fp32",
        "attentionBackend": "FLEX_ATTENTION",
        "maxBatchedTokens": 1500,
        "gpuMemoryUtilization": 0.5,
    }
    found = env({**T4, "engine": engine})
    assert found["DTYPE"] == "float32"
    assert env({"gpu": {"class": "hopper"}, "engine": {"attentionBackend": "FLASH_ATTN"}})["ENGINE"] == "vllm"
    assert found["VLLM_KV_CACHE_DTYPE"] == "fp32"
    assert found["VLLM_ATTENTION_BACKEND"] == "FLEX_ATTENTION"
    assert found["VLLM_MAX_NUM_BATCHED_TOKENS"] == "1500"
    assert found["VLLM_GPU_MEMORY_UTILIZATION"] == "0.5"


@pytest.mark.parametrize("name", ["DTYPE", "PORT", "HOME", "VLLM_DTYPE"])
def test_reserved_variable_in_the_spec_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=rf"spec\.pod\.env\[1\]\.name: {name} is set by the operator"):
        env({"pod": {"env": [{"name": "A", "value": "b"}, {"name": name, "value": "b"}]}})


def test_no_variable_occurs_twice() -> None:
    own = [{"name": "HF_ENDPOINT", "value": "https://mine"}, {"name": "A", "value": "mine"}]
    defaults = {"hf_endpoint": "https://all", "env": ({"name": "A", "value": "all"}, {"name": "B", "value": "all"})}
    variables = container({"pod": {"env": own}}, defaults=defaults)["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names))
    assert variables[-3:] == [{"name": "B", "value": "all"}, *own]


def test_chart_variables_cannot_override_reserved_ones() -> None:
    assert env({}, defaults={"env": ({"name": "PORT", "value": "1"},)})["PORT"] == "8000"


def test_short_audio_limit_keeps_max_decoded_seconds() -> None:
    found = env({"transcription": {"maxAudioSeconds": 14_400}})
    assert found["MAX_AUDIO_SECONDS"] == "14400"
    assert "MAX_DECODED_SECONDS" not in found


@pytest.mark.parametrize(("path", "expected"), [("/", None), ("/speech", "/speech"), ("/a/b", "/a/b")])
def test_root_path_equals_the_routes_path(path: str, expected: str | None) -> None:
    assert env({"exposure": {"ingress": {"path": path}}}).get("ROOT_PATH") == expected


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-2g.20gb"])
def test_each_pod_requests_one_gpu(resource: str) -> None:
    resources = container({"gpu": {"resourceName": resource}})["resources"]
    assert resources["limits"] == {resource: "1"}
    assert resources["requests"][resource] == "1"


@pytest.mark.parametrize("kind", ["limits", "requests"])
@pytest.mark.parametrize("gpu_class", ["none", "auto"])
def test_gpu_in_pod_resources_is_refused(kind: str, gpu_class: str) -> None:
    with pytest.raises(SpecError, match=rf"spec\.pod\.resources\.{kind}: leave out nvidia.com/gpu"):
        pod({"gpu": {"class": gpu_class}, "pod": {"resources": {kind: {"nvidia.com/gpu": 2}}}})


def test_resources_of_the_spec_replace_the_defaults() -> None:
    assert container({**CPU, "pod": {"resources": {}}})["resources"] == {}
    resources = {"limits": {"memory": "9Gi"}}
    assert container({**CPU, "pod": {"resources": resources}})["resources"] == resources


def test_image_cache_is_mounted_read_only() -> None:
    spec = {"model": {"id": "/models/large"}, "cache": {"image": {"reference": "team/large:3"}}}
    found = pod(spec, defaults={"image_registry": "mirror.example"})
    reference = {"reference": "mirror.example/team/large:3", "pullPolicy": "IfNotPresent"}
    assert {"name": "models", "image": reference} in found["volumes"]
    mounts = found["containers"][0]["volumeMounts"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in mounts
    assert env(spec)["HF_HOME"].startswith("/scratch/")


def test_existing_claim_is_mounted_and_not_created() -> None:
    spec = {"cache": {"existingClaim": "shared-models"}}
    made = make_children(parsed_endpoint(spec), operator_settings(), served_kinds=frozenset(), ingress_controller="")
    assert "PersistentVolumeClaim" not in {child["kind"] for child in made}
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "shared-models"}} in pod(spec)["volumes"]
    assert env(spec)["HF_HOME"] == "/cache/huggingface"
    assert env(spec)["VLLM_CACHE_ROOT"].startswith("/scratch/")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (0, 1)),
        (CPU, (1, 0)),
        ({"rollout": {"maxSurge": 1}}, (1, 1)),
        ({"rollout": {"maxUnavailable": 0}}, (1, 0)),
        ({**CPU, "rollout": {"maxSurge": "0%"}}, ("0%", 1)),
        ({**CPU, "rollout": {"maxSurge": 2, "maxUnavailable": "50%"}}, (2, "50%")),
        ({**CPU, "cache": {"persistentVolumeClaim": {"size": "1Gi"}}}, (0, 1)),
        ({**CPU, "cache": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteOncePod"]}}}, (0, 1)),
        ({**CPU, "cache": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}}, (1, 0)),
        ({**CPU, "cache": {"existingClaim": "mine"}}, (0, 1)),
        ({**CPU, "cache": {"existingClaim": "mine"}, "rollout": {"maxUnavailable": 0}}, (1, 0)),
        ({**CPU, "cache": {"emptyDir": {}}}, (1, 0)),
    ],
)
def test_rolling_update_depends_on_gpu_and_volume(spec: Document, expected: tuple[int | str, int | str]) -> None:
    surge, unavailable = expected
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    assert deployment_spec(spec)["strategy"] == strategy


@pytest.mark.parametrize("zeros", [(0, 0), ("0%", 0), (0, "00%")])
def test_rollout_without_surge_and_unavailable_is_refused(zeros: tuple[int | str, int | str]) -> None:
    with pytest.raises(SpecError, match=r"spec\.rollout: maxSurge and maxUnavailable cannot both be 0"):
        pod({"rollout": {"maxSurge": zeros[0], "maxUnavailable": zeros[1]}})


@pytest.mark.parametrize(("startup_s", "failures"), [(10, 5), (11, 6), (1800, 900), (86_400, 43_200)])
def test_startup_probe_allows_startup_seconds(startup_s: int, failures: int) -> None:
    spec = deployment_spec({"rollout": {"startupSeconds": startup_s}})
    (found,) = spec["template"]["spec"]["containers"]
    assert found["startupProbe"]["failureThreshold"] == failures
    assert found["startupProbe"]["failureThreshold"] * found["startupProbe"]["periodSeconds"] >= startup_s
    assert spec["progressDeadlineSeconds"] > startup_s


def test_suspended_endpoint_has_no_pods_and_no_autoscaler() -> None:
    scaled = {"replicas": 3, "autoscaling": {"maxReplicas": 3, "metric": "cpu", "target": 80}}

    def kinds(spec: Document) -> dict[str, Document]:
        made = make_children(
            parsed_endpoint(spec), operator_settings(), served_kinds=frozenset(), ingress_controller=""
        )
        return {child["kind"]: child for child in made}

    running, suspended = kinds(scaled), kinds({**scaled, "suspend": True})
    assert running["HorizontalPodAutoscaler"]["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    assert set(running) - set(suspended) == {"HorizontalPodAutoscaler"}
    assert suspended["Deployment"]["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("whisper:1", "mirror.example/hub/whisper:1"),
        ("team/whisper:1", "mirror.example/hub/team/whisper:1"),
        ("ghcr.io/team/whisper@sha256:0", "ghcr.io/team/whisper@sha256:0"),
        ("localhost/whisper:1", "localhost/whisper:1"),
        ("registry:5000/whisper:1", "registry:5000/whisper:1"),
    ],
)
def test_mirror_applies_to_images_without_registry(image: str, expected: str) -> None:
    assert from_registry(image, "mirror.example/hub") == expected
    assert from_registry(image, "mirror.example/hub/") == expected
    assert from_registry(image, "") == image


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ("auto", "auto", "auto", "auto", GPU_IMAGE, "none")),
        (CPU, ("ctranslate2", "none", "auto", "none", CPU_IMAGE, "none")),
        (T4, ("vllm", "t4", "auto", "auto", GPU_IMAGE, "none")),
        (
            {
                "model": {"id": "openai/whisper-large-v3", "revision": "v1"},
                "gpu": {"class": "ada"},
                "engine": {"dtype": "float32", "kvCacheDtype": "fp8"},
                "pod": {"image": "x/y:1"},
            },
            ("vllm", "ada", "float32", "fp8", "x/y:1", "v1"),
        ),
        ({"model": {"id": "/models/mine"}, "engine": {"type": "vllm"}}, ("vllm", *["auto"] * 3, GPU_IMAGE, "none")),
    ],
)
def test_spec_resolves_to_these_values(spec: Document, expected: tuple[str, ...]) -> None:
    engine, gpu_class, dtype, kv_cache_dtype, image, revision = expected
    assert resolve(parsed_endpoint(spec), operator_settings()) == Resolved(
        engine=engine,
        gpu_class=gpu_class,
        dtype=dtype,
        kv_cache_dtype=kv_cache_dtype,
        image=image,
        model_revision=revision,
    )


def egress(policy: Document, model: Document | None = None, **settings: Any) -> Document:
    """The NetworkPolicy's part about connections from the pods."""
    spec = {"access": {"networkPolicy": policy}, **({"model": model} if model else {})}
    made = make_children(
        parsed_endpoint(spec),
        operator_settings(**settings),
        served_kinds=frozenset(),
        ingress_controller="",
    )
    (found,) = [child["spec"] for child in made if child["kind"] == "NetworkPolicy"]
    return {key: found[key] for key in ("policyTypes", "egress") if key in found}


def test_pods_connect_to_where_egress_says() -> None:
    def ports(*numbers: int) -> list[Document]:
        return [{"protocol": "TCP", "port": number} for number in numbers]

    dns = [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]
    both = ["Ingress", "Egress"]
    proxies = {
        "http_proxy": "proxy.example:3128",
        "https_proxy": "http://proxy.example",
        "hf_endpoint": "https://hub:8443/a",
    }

    assert egress({}) == {"policyTypes": ["Ingress"]}
    assert egress({"egress": "none"}) == {"policyTypes": both, "egress": []}
    assert egress({"egress": "hub"}) == {"policyTypes": both, "egress": [{"ports": dns}, {"ports": ports(443)}]}
    assert egress({"egress": "hub"}, defaults=proxies) == {
        "policyTypes": both,
        "egress": [{"ports": dns}, {"ports": ports(80, 443, 3128, 8443)}],
    }


@pytest.mark.parametrize(
    ("model", "numbers", "asks_aws"),
    [
        ({"id": "httpx/whisper"}, [443], False),
        ({"id": "http://host/a.tar.gz", "sha256": "ab" * 32}, [80, 443], False),
        ({"id": "https://host:8443/a.tar.gz"}, [443, 8443], False),
        ({"id": "oci://registry:5000/a:1"}, [443, 5000], False),
        ({"id": "s3://bucket/a"}, [443], True),
        ({"id": "s3://bucket/a", "s3": {"endpointUrl": "http://minio:9000"}}, [443, 9000], True),
        ({"id": "s3://bucket/a", "s3": {"credentialsSecretRef": {"name": "key"}}}, [443], False),
    ],
)
def test_hub_opens_where_the_model_and_the_key_to_it_are(model: Document, numbers: list[int], asks_aws: bool) -> None:
    _, servers, *others = egress({"egress": "hub"}, model=model)["egress"]
    assert servers == {"ports": [{"protocol": "TCP", "port": number} for number in numbers]}
    assert len(others) == asks_aws
    for other in others:
        assert other["ports"] == [{"protocol": "TCP", "port": 80}]
        asked = {peer["ipBlock"]["cidr"] for peer in other["to"]}
        assert {"169.254.170.23/32", "169.254.169.254/32"} < asked
