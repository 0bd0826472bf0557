"""What the operator tells the server and what the server understands are the same thing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from prometheus_client import generate_latest

from http_kit.running import running
from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from whisper_operator import names
from whisper_operator.manifests import make_children
from whisper_operator.manifests.scaling import POD_METRICS
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.fields import NETWORK_OR_ADDRESS
from whisper_operator.resource.model_rules import MODEL_RULES
from whisper_operator.resource.reserved import RESERVED_ENV
from whisper_operator.resource.rule import Rule
from whisper_runtime import choices
from whisper_runtime.environment import networks
from whisper_server.engines.model_sources.fetching import OCI, S3
from whisper_server.metrics import Metrics
from whisper_server.settings import Settings

Document = dict[str, Any]

FOREIGN = {
    "HOME": "where programs put what they forgot to ask about",
    "TMPDIR": "Python's temporary files: the root is read-only",
    "XDG_CACHE_HOME": "caches of libraries",
    "XDG_CONFIG_HOME": "vLLM's usage statistics and others' settings",
    "TORCHINDUCTOR_CACHE_DIR": "torch's compiled graphs",
    "TRITON_CACHE_DIR": "compiled kernels",
    "VLLM_CACHE_ROOT": "vLLM's own cache",
    "HTTP_PROXY": "Python's clients",
    "http_proxy": "curl and the like, which know this case only",
    "HTTPS_PROXY": "likewise",
    "https_proxy": "likewise",
    "NO_PROXY": "likewise",
    "no_proxy": "likewise",
    "HF_ENDPOINT": "huggingface_hub: a mirror",
    "HF_HUB_OFFLINE": "huggingface_hub: nothing is downloaded",
    "SSL_CERT_FILE": "OpenSSL: certificates to trust",
    "REQUESTS_CA_BUNDLE": "likewise, for requests",
    "CURL_CA_BUNDLE": "likewise, for curl",
}
"""Variables that are not the server's own, and whose they are."""
MAY_BE_SET = {"MAX_DECODED_SECONDS", *FOREIGN}
"""Set by the operator at times, and yet a pod's own env may say otherwise."""

EVERYTHING: Document = {
    "model": {"id": "a/b", "revision": "v1", "servedNames": ["x", "y"], "tokenSecretRef": {"name": "hub"}},
    "engine": {
        "type": "vllm",
        "dtype": "half",
        "kvCacheDtype": "fp16",
        "attentionBackend": "TRITON_ATTN",
        "maxBatchedTokens": 3000,
        "gpuMemoryUtilization": 0.85,
    },
    "transcription": {
        "languageForce": "fa",
        "timestamps": "segments",
        "maxAudioSeconds": 20_000,
        "segmentDurationSeconds": 12.5,
    },
    "access": {"apiKeysSecretRef": {"name": "keys"}, "maxUploadBytes": 2_147_483_648, "maxQueueSeconds": 30}
    | {
        "quotas": {"maxRequests": 4, "maxAudioSecondsPerMinute": 600, "maxBytes": 2_147_483_648},
        "realtime": {"maxSessions": 20, "idleSeconds": 600},
        "trustedProxies": ["10.0.0.0/8", "::1"],
    },
    "exposure": {"ingress": {"path": "/a/b"}},
    "rollout": {"drainSeconds": 7, "shutdownSeconds": 70},
}
DEFAULTS: Document = {
    "http_proxy": "http://p",
    "https_proxy": "http://p",
    "no_proxy": "a",
    "ca_bundle_config_map": "ca",
    "hf_endpoint": "https://hub",
    "offline": True,
}


def pod(spec: Document) -> Document:
    made = make_children(
        parsed_endpoint(spec),
        operator_settings(defaults=DEFAULTS),
        served_kinds=frozenset(),
        ingress_controller="",
    )
    (found,) = [child["spec"]["template"]["spec"] for child in made if child["kind"] == "Deployment"]
    return dict(found)


def environ(spec: Document) -> dict[str, str]:
    """As the server sees it; a reference to a Secret is some text."""
    (container,) = pod(spec)["containers"]
    return {variable["name"]: variable.get("value", "hf_secret") for variable in container["env"]}


FROM_A_BUCKET: Document = {
    "model": {
        "id": "s3://models/whisper",
        "s3": {
            "endpointUrl": "https://minio.example.com:9000",
            "region": "eu-test-1",
            "credentialsSecretRef": {"name": "key"},
        },
    }
}
FROM_A_REGISTRY: Document = {
    "model": {"id": "oci://registry.example/team/whisper:v1", "pullSecretRef": {"name": "pull"}}
}
FROM_THE_WEB: Document = {"model": {"id": "https://example.com/whisper.tar.gz", "sha256": "ab" * 32}}
SPECS: tuple[Document, ...] = (
    EVERYTHING,
    FROM_A_BUCKET,
    FROM_A_REGISTRY,
    FROM_THE_WEB,
    *({"gpu": {"class": str(gpu_class)}} for gpu_class in GpuClass),
    *({**EVERYTHING, "gpu": {"class": gpu_class}} for gpu_class in ("t4", "ampere", "hopper")),
)


def known() -> set[str]:
    fields = dataclasses.fields(Settings)
    aliases = {field.metadata["alias"] for field in fields} - {None}
    return {field.name.upper() for field in fields} | aliases


def test_every_variable_is_the_servers_or_known_to_be_anothers() -> None:
    found = {name for spec in SPECS for name in environ(spec)}
    assert found - known() == set(FOREIGN)
    assert not known() & set(FOREIGN)


def test_a_variable_of_the_operator_is_refused_in_a_pods_own_env_or_may_be_overridden_on_purpose() -> None:
    found = {name for spec in SPECS for name in environ(spec)}
    laid_out = {name for name in FOREIGN if name in RESERVED_ENV}
    assert found - set(RESERVED_ENV) == MAY_BE_SET - laid_out


def test_every_reserved_variable_means_something() -> None:
    assert set(RESERVED_ENV) - known() - set(FOREIGN) == {"NVIDIA_VISIBLE_DEVICES"}


@pytest.mark.parametrize("spec", SPECS)
def test_the_server_accepts_the_operators_variables(spec: Document) -> None:
    Settings.from_env(environ(spec))


def test_the_server_understands_what_was_meant() -> None:
    settings = Settings.from_env(environ({**EVERYTHING, "gpu": {"class": "t4"}}))
    assert (settings.model_id, settings.model_revision, settings.hf_token) == ("a/b", "v1", "hf_secret")
    assert settings.served_model_names == ("x", "y")
    assert settings.engine is choices.EngineName.VLLM
    assert settings.dtype is choices.DType.HALF
    assert settings.vllm_kv_cache_dtype is choices.KvCacheDType.FP16
    assert settings.vllm_attention_backend is choices.AttentionBackend.TRITON_ATTN
    assert settings.vllm_max_num_batched_tokens == 3000
    assert settings.vllm_gpu_memory_utilization == 0.85
    assert (settings.language_force, settings.timestamps) == ("fa", choices.Timestamps.SEGMENTS)
    assert (settings.max_audio_seconds, settings.max_decoded_seconds) == (20_000, 20_000)
    assert settings.whisper_segment_duration_sec == 12.5
    assert (settings.max_upload_bytes, settings.max_queue_seconds) == (2_147_483_648, 30)
    assert (settings.max_requests_per_client, settings.max_audio_seconds_per_minute) == (4, 600)
    assert settings.max_bytes_per_client == 2_147_483_648
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.root_path == "/a/b"
    assert (settings.drain_seconds, settings.shutdown_seconds) == (7, 70)


def test_the_server_understands_where_the_model_is() -> None:
    bucket, registry, web = (
        Settings.from_env(environ(spec)) for spec in (FROM_A_BUCKET, FROM_A_REGISTRY, FROM_THE_WEB)
    )
    assert (bucket.model_id, bucket.aws_endpoint_url) == ("s3://models/whisper", "https://minio.example.com:9000")
    assert (bucket.aws_region, bucket.aws_access_key_id) == ("eu-test-1", "hf_secret")
    assert (bucket.aws_secret_access_key, bucket.aws_session_token) == ("hf_secret", "hf_secret")
    mounts = pod(FROM_A_REGISTRY)["containers"][0]["volumeMounts"]
    assert registry.docker_config in [Path(mount["mountPath"]) for mount in mounts]
    assert (web.model_id, web.model_sha256) == ("https://example.com/whisper.tar.gz", "ab" * 32)


@pytest.mark.parametrize(
    "rule",
    [rule for rule in MODEL_RULES if rule.message.startswith("write oci") or rule.message.startswith("write s3")],
)
def test_addresses_have_the_forms_that_the_server_knows(rule: Rule) -> None:
    """CEL's pattern and the server's accept and refuse the same."""
    (written,) = re.findall(r"matches\('(.*)'\)", rule.rule)
    pattern = re.compile(written.replace("\\\\", "\\"))
    ours = OCI if "oci" in rule.message else S3
    for address in (
        "oci://r.example/a:1", "oci://r.example:5000/a/b_c.d-e", "oci://r/a@sha256:" + "0" * 64, "oci://r.example",
        "oci://u:p@r/a", "oci://r/A", "oci://r/a:1@sha256:0", "s3://bucket", "s3://my.bucket/a/b c", "s3://Bucket/a",
        "s3://b", "s3://bucket/a?b", "s3://bucket-/a",
    ):  # fmt: skip
        if address.partition(":")[0] in rule.message:
            assert bool(pattern.search(address)) is bool(ours.fullmatch(address)), address


@pytest.mark.parametrize("gpu_class", GpuClass)
def test_operator_sets_no_number_that_the_server_decides_by_its_gpu(gpu_class: GpuClass) -> None:
    """A given setting wins over the server's profile, which knows the GPU: with 32768 batched tokens Hopper was slower."""
    found = environ({"gpu": {"class": str(gpu_class)}})
    assert {name for name in found if name == "DTYPE" or name.startswith("VLLM_")} <= {"VLLM_CACHE_ROOT"}


@pytest.mark.parametrize("spec", SPECS)
def test_ports_are_where_the_server_listens(spec: Document) -> None:
    settings = Settings.from_env(environ(spec))
    (container,) = pod(spec)["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        names.HTTP_PORT_NAME: settings.port,
        names.METRICS_PORT_NAME: settings.metrics_port,
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == names.HTTP_PORT_NAME


@pytest.mark.parametrize(("drain_s", "shutdown_s"), [(0, 0), (15, 600), (7, 70)])
def test_the_kubelet_waits_longer_than_the_server_takes(drain_s: int, shutdown_s: int) -> None:
    spec = {"rollout": {"drainSeconds": drain_s, "shutdownSeconds": shutdown_s}}
    settings = Settings.from_env(environ(spec))
    found = pod(spec)
    assert found["terminationGracePeriodSeconds"] == settings.drain_seconds + settings.shutdown_seconds + 10
    assert "lifecycle" not in found["containers"][0]


def test_folders_of_the_server_are_mounted_and_writable() -> None:
    caches: list[Document] = [
        {"emptyDir": {}},
        {"persistentVolumeClaim": {"size": "1Gi"}},
        {"image": {"reference": "m:1"}},
    ]
    for cache in caches:
        spec = {**EVERYTHING, "cache": cache}
        found = pod(spec)
        mounts = found["containers"][0]["volumeMounts"]
        writable = [mount["mountPath"] for mount in mounts if not mount.get("readOnly")]
        folders = environ(spec)
        for name in ("HF_HOME", "MODEL_CACHE_DIR", "HOME", "TMPDIR", *(name for name in FOREIGN if "CACHE" in name)):
            assert any(f"{folders[name]}/".startswith(f"{path}/") for path in writable), name
        assert folders["API_KEYS_DIR"] in [mount["mountPath"] for mount in mounts if mount.get("readOnly")]
        volumes = {volume["name"] for volume in found["volumes"]}
        assert {mount["name"] for mount in mounts} == volumes


@pytest.mark.parametrize("path", ["/", "/a/b"])
async def test_probes_and_routes_lead_somewhere_and_metrics_are_not_among_them(path: str) -> None:
    spec = {"exposure": {"ingress": {"path": path}}}
    endpoint = parsed_endpoint(spec)
    made = make_children(endpoint, operator_settings(), served_kinds=frozenset(), ingress_controller="")
    (ingress,) = [child["spec"] for child in made if child["kind"] == "Ingress"]
    routed = [rule["path"] for rule in ingress["rules"][0]["http"]["paths"]]
    (container,) = pod(spec)["containers"]
    probed = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    reached = [f"{prefix}/models" if prefix.endswith("/v1") else prefix for prefix in routed]
    variables: Any = environ(spec)
    async with running(**variables) as server, ClientSession(server.url) as client:
        for at in (*probed, *reached):
            assert (await client.get(at)).status == 200, at
        assert (await client.get("/metrics")).status == 404
    async with running(loaded=False, **variables) as server, ClientSession(server.url) as client:
        assert (await client.get("/ready")).status == 503
        assert (await client.get("/health")).status == 200


def test_what_is_scaled_by_is_measured() -> None:
    metrics = Metrics()
    metrics.watch_queue(lambda: 0.0, lambda: 0.0)
    text = generate_latest(metrics.registry).decode()
    for name in POD_METRICS.values():
        assert f"\n{name} " in text


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.1/8", True),
        ("192.168.1.7", True),
        ("fd00::/8", True),
        ("::1", True),
        ("999.1.1.1/8", False),
        ("1.2.3.4/99", False),
        ("010.0.0.0/8", False),
        ("fd00::/129", False),
        ("10.0.0/8", False),
        ("proxy.example.com", False),
    ],
)
def test_operator_and_server_accept_the_same_networks(text: str, is_accepted: bool) -> None:
    """A pod whose server refuses what the spec accepts would end at each start."""
    try:
        networks(text)
    except ValueError:
        assert not is_accepted
    else:
        assert is_accepted
    assert bool(re.search(NETWORK_OR_ADDRESS["pattern"], text)) is is_accepted
