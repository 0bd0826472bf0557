import dataclasses
import json
import re

import pytest

from whisper_operator.__main__ import _parser
from whisper_operator.errors import StartError
from whisper_operator.settings import Defaults, Settings

IMAGES = {"SERVER_IMAGE_GPU": "registry.test/gpu:1", "SERVER_IMAGE_CPU": "registry.test/cpu:1"}

REGISTRIES = "different registries or repositories such as registry.example.com/team between commas, each with its host"


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


OURS = ", which the operator sets: leave it out"
KEYS = "with keys such as team or example.com/team"


def settings(**environ: str) -> Settings:
    return Settings.from_env({**IMAGES, **environ}, no_file)


def problem(environ: dict[str, str], text: str | None = None) -> str:
    with pytest.raises(StartError) as raised:
        Settings.from_env(environ, no_file if text is None else lambda path: text)
    return str(raised.value)


def test_only_the_images_are_required() -> None:
    assert problem({}) == (
        "SERVER_IMAGE_GPU must be set: image of servers that have a GPU; "
        "SERVER_IMAGE_CPU must be set: image of servers that have none"
    )
    assert settings() == Settings(server_image_gpu="registry.test/gpu:1", server_image_cpu="registry.test/cpu:1")


def test_every_variable_is_read() -> None:
    read = settings(
        WATCH_NAMESPACES="team-a, team-b",
        OPERATOR_NAMESPACE="whisper",
        LEASE_NAME="whisper-operator.example",
        IDENTITY="pod-1",
        KUBECONFIG="/tmp/config",
        KUBE_CONTEXT="there",
        PORT="0",
        INTERFACE="::",
        WORKERS="4",
        DRIFT_SECONDS="2.5",
        MISSING_SECONDS="0.5",
        LEASE_SECONDS="4",
        READ_SECRETS="false",
        MONITORING_NAMESPACE="monitoring",
        POD_MONITORS="no",
        POD_MONITOR_LABELS='{"release": "prometheus"}',
        PROMETHEUS_URL="https://prometheus.example:9090/prometheus",
        INGRESS_CONTROLLER="Contour",
        ALLOWED_IMAGE_REGISTRIES="registry.example.com/team, localhost:5000",
        REFUSED_ANNOTATIONS="*-snippet",
        IMAGE_ROLLOUT_AT_ONCE="0",
        CLUSTER_DOMAIN="example.internal",
        LOG_LEVEL="debug",
        LOG_FORMAT="text",
    )
    assert read == Settings(
        server_image_gpu="registry.test/gpu:1",
        server_image_cpu="registry.test/cpu:1",
        watch_namespaces=("team-a", "team-b"),
        operator_namespace="whisper",
        lease_name="whisper-operator.example",
        identity="pod-1",
        kubeconfig="/tmp/config",
        kube_context="there",
        port=0,
        interface="::",
        workers=4,
        drift_seconds=2.5,
        missing_seconds=0.5,
        lease_seconds=4,
        read_secrets=False,
        monitoring_namespace="monitoring",
        pod_monitors=False,
        pod_monitor_labels={"release": "prometheus"},
        prometheus_url="https://prometheus.example:9090/prometheus",
        ingress_controller="contour",
        allowed_image_registries=("registry.example.com/team", "localhost:5000"),
        refused_annotations=("*-snippet",),
        image_rollout_at_once=0,
        cluster_domain="example.internal",
        log_level="debug",
        log_format="text",
    )
    defaults = settings()
    fields = [field.name for field in dataclasses.fields(Settings) if field.metadata]
    unread = {name for name in fields if getattr(read, name) == getattr(defaults, name)}
    assert unread == {"server_image_gpu", "server_image_cpu"}


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        *(
            ("SERVER_IMAGE_GPU", value, "an image such as ghcr.io/example/whisper-server:1.0.0")
            for value in ("no image", "https://reg.example/x:1", "a//b", "a/", "a:")
        ),
        ("WATCH_NAMESPACES", "team-a,team-a", "different names of namespaces between commas"),
        ("WATCH_NAMESPACES", "Team_A", "different names of namespaces between commas"),
        ("WATCH_NAMESPACES", "a,,b", "different names of namespaces between commas"),
        ("OPERATOR_NAMESPACE", "-x", "the name of a namespace"),
        ("LEASE_NAME", "Upper", "the name of a Lease"),
        ("IDENTITY", "a b", "a name without spaces"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("INTERFACE", "*", "an address such as 0.0.0.0 or ::"),
        ("WORKERS", "0", "a whole number from 1 to 256"),
        ("DRIFT_SECONDS", "nan", "a number from 1 to 86400"),
        ("MISSING_SECONDS", "0", "a number from 0.1 to 3600"),
        ("LEASE_SECONDS", "1", "a number from 2 to 3600"),
        ("READ_SECRETS", "maybe", "0 or 1"),
        ("PROMETHEUS_URL", "prometheus:9090", "an address such as http://prometheus-operated.monitoring:9090"),
        ("POD_MONITOR_LABELS", "release=prometheus", 'a JSON object of strings such as {"release": "prometheus"}'),
        ("POD_MONITOR_LABELS", '{"release": 1}', 'a JSON object of strings such as {"release": "prometheus"}'),
        ("INGRESS_CONTROLLER", "apache", "one of contour, nginx, haproxy, alb, openshift, none"),
        ("ALLOWED_IMAGE_REGISTRIES", "team/mine", REGISTRIES),
        ("ALLOWED_IMAGE_REGISTRIES", "registry.example.com/", REGISTRIES),
        ("ALLOWED_IMAGE_REGISTRIES", "https://registry.example.com", REGISTRIES),
        ("ALLOWED_IMAGE_REGISTRIES", "a.example,a.example", REGISTRIES),
        (
            "REFUSED_ANNOTATIONS",
            "[a-z]",
            "different keys of annotations such as *-snippet between commas, * for any characters",
        ),
        ("CLUSTER_DOMAIN", "a b", "a domain"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "one of json, text"),
    ],
)
def test_invalid_value_is_named_with_the_allowed_ones(variable: str, value: str, expected: str) -> None:
    assert problem({**IMAGES, variable: value}) == f"{variable} must be {expected}, not {value!r}"


def test_all_problems_are_reported_at_once() -> None:
    told = problem({**IMAGES, "PORT": "x", "WORKERS": "x", "DEFAULTS_FILE": "/nowhere"})
    assert re.findall(r"[A-Z_]{4,}", told) == ["PORT", "WORKERS", "DEFAULTS_FILE"]


def test_empty_variable_counts_as_unset() -> None:
    assert settings(PORT=" ", WATCH_NAMESPACES="", POD_MONITOR_LABELS="") == settings()


def test_defaults_come_from_the_file() -> None:
    document = {
        "imageRegistry": "registry.example.com/mirror",
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["pull"],
        "httpProxy": "http://proxy:3128",
        "httpsProxy": "http://proxy:3129",
        "noProxy": ".svc",
        "caBundleConfigMap": "trust",
        "hfEndpoint": "https://hub.example.com",
        "offline": True,
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"pool": "gpu"},
        "fsGroup": None,
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "env": [{"name": "TZ", "value": "UTC"}],
    }
    read = Settings.from_env(
        {**IMAGES, "DEFAULTS_FILE": "/f"}, lambda path: json.dumps(document) if path == "/f" else ""
    )
    assert read.defaults == Defaults(
        image_registry="registry.example.com/mirror",
        image_pull_policy="Always",
        image_pull_secrets=("pull",),
        http_proxy="http://proxy:3128",
        https_proxy="http://proxy:3129",
        no_proxy=".svc",
        ca_bundle_config_map="trust",
        hf_endpoint="https://hub.example.com",
        offline=True,
        tolerations=({"key": "gpu", "operator": "Exists"},),
        node_selector={"pool": "gpu"},
        fs_group=None,
        pod_annotations={"a": "b"},
        pod_labels={"c": "d"},
        env=({"name": "TZ", "value": "UTC"},),
    )
    assert len(document) == len(dataclasses.fields(Defaults))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "DEFAULTS_FILE is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "DEFAULTS_FILE must hold a JSON object"),
        ('{"imagRegistry": ""}', "DEFAULTS_FILE: imagRegistry is unknown"),
        ('{"imageRegistry": 1}', "DEFAULTS_FILE: imageRegistry must be text, not 1"),
        ('{"imagePullPolicy": "x"}', 'DEFAULTS_FILE: imagePullPolicy must be Always, IfNotPresent or Never, not "x"'),
        ('{"imagePullSecrets": [""]}', 'DEFAULTS_FILE: imagePullSecrets must be a list of texts, not [""]'),
        ('{"offline": "yes"}', 'DEFAULTS_FILE: offline must be true or false, not "yes"'),
        ('{"tolerations": [1]}', "DEFAULTS_FILE: tolerations must be a list of objects, not [1]"),
        ('{"nodeSelector": {"a": 1}}', 'DEFAULTS_FILE: nodeSelector must be an object of texts, not {"a": 1}'),
        *(
            (f'{{"{field}": {given}}}', f"DEFAULTS_FILE: {field} must be an object {wanted}, not {given}")
            for field, given, wanted in (
                ("podLabels", '{"app.kubernetes.io/name": "a"}', f"without app.kubernetes.io/name{OURS}"),
                ("podLabels", '{"whisper-operator.io/endpoint": "a"}', f"without whisper-operator.io/endpoint{OURS}"),
                ("podAnnotations", '{"whisper-operator.io/x": "a"}', f"without whisper-operator.io/x{OURS}"),
                ("podLabels", '{"bad key": "1"}', KEYS),
                ("podAnnotations", '{"bad key": "1"}', KEYS),
                ("nodeSelector", '{"bad key": "1"}', KEYS),
                ("podLabels", '{"a": "b c"}', "of texts of at most 63 letters, digits, dashes, dots and underscores"),
            )
        ),
        ('{"fsGroup": -1}', "DEFAULTS_FILE: fsGroup must be a whole number or null, not -1"),
        ('{"fsGroup": true}', "DEFAULTS_FILE: fsGroup must be a whole number or null, not true"),
    ],
)
def test_invalid_defaults_file_is_reported_by_field(text: str, expected: str) -> None:
    assert problem({**IMAGES, "DEFAULTS_FILE": "/f"}, text) == expected


def test_missing_defaults_file_is_reported() -> None:
    told = problem({**IMAGES, "DEFAULTS_FILE": "/nowhere"})
    assert told == "DEFAULTS_FILE cannot be read: [Errno 2] No such file or directory: '/nowhere'"


def test_help_names_every_variable() -> None:
    text = _parser().format_help()
    for field in dataclasses.fields(Settings):
        if field.metadata:
            assert f"  {field.name.upper()} (" in text
    assert "DEFAULTS_FILE" in text


@pytest.mark.parametrize(
    ("name", "instead"), [("MODEL_ID", "write model.id in endpoints instead"), ("PORT", "leave it out")]
)
def test_default_variable_that_the_operator_sets_is_refused(name: str, instead: str) -> None:
    text = json.dumps({"env": [{"name": "A", "value": "b"}, {"name": name, "value": "x"}]})
    found = problem({**IMAGES, "DEFAULTS_FILE": "/defaults.json"}, text)
    assert found.startswith(f"DEFAULTS_FILE: env must be a list without {name}: {instead}")
