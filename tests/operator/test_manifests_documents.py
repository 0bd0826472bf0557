"""Complete documents: a minimal spec, a full T4 spec, and a CPU server."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import CPU_IMAGE, GPU_IMAGE, operator_settings
from operator_kit.endpoints import UID, parsed_endpoint
from whisper_operator.gpus import node_selector_terms, without_gpu
from whisper_operator.manifests import make_children
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Endpoint, Gpu
from whisper_operator.settings import Settings

Document = dict[str, Any]
PLATFORM = [
    {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
    {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
]

SERVED = frozenset({"HTTPRoute", "PodMonitor"})
LABELS = {
    "app.kubernetes.io/name": "whisper-server",
    "app.kubernetes.io/instance": "speech",
    "app.kubernetes.io/component": "speech-to-text",
    "app.kubernetes.io/managed-by": "whisper-operator",
    "whisper-operator.io/endpoint": "speech",
}
SELECTOR = {"matchLabels": {"whisper-operator.io/endpoint": "speech"}}
OWNER = {
    "apiVersion": "whisper-operator.io/v1alpha1",
    "kind": "WhisperEndpoint",
    "name": "speech",
    "uid": UID,
    "controller": True,
    "blockOwnerDeletion": False,
}
METADATA = {"name": "speech", "namespace": "team-a", "labels": LABELS, "ownerReferences": [OWNER]}
FOLDERS = [
    {"name": "HOME", "value": "/scratch"},
    {"name": "TMPDIR", "value": "/tmp"},
    {"name": "XDG_CACHE_HOME", "value": "/scratch/.cache"},
    {"name": "XDG_CONFIG_HOME", "value": "/scratch/.config"},
    {"name": "TORCHINDUCTOR_CACHE_DIR", "value": "/scratch/torchinductor"},
    {"name": "TRITON_CACHE_DIR", "value": "/scratch/triton"},
    {"name": "VLLM_CACHE_ROOT", "value": "/scratch/vllm"},
]
PORTS = [
    {"name": "http", "containerPort": 8000, "protocol": "TCP"},
    {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
]
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
POD_SECURITY = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "fsGroup": 2000,
    "fsGroupChangePolicy": "OnRootMismatch",
}
SCRATCH_MOUNTS = [
    {"name": "scratch", "mountPath": "/scratch"},
    {"name": "scratch", "mountPath": "/tmp", "subPath": "tmp"},
]
SHM = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}
ON_GPU_NODES = [
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
]


def children(endpoint: Endpoint, settings: Settings | None = None, controller: str = "") -> dict[str, Document]:
    made = make_children(endpoint, settings or operator_settings(), served_kinds=SERVED, ingress_controller=controller)
    return {child["kind"]: child for child in made}


def probe(path: str, period_s: int, failures: int) -> Document:
    get = {"path": path, "port": "http"}
    return {"httpGet": get, "periodSeconds": period_s, "timeoutSeconds": 5, "failureThreshold": failures}


def without_digests(deployment: Document) -> Document:
    """What follows from the rest is looked at by tests of its own."""
    annotations = set(deployment["metadata"].pop("annotations"))
    assert annotations - {"whisper-operator.io/own-image"} == {"whisper-operator.io/pod-template"}
    digest = deployment["spec"]["template"]["metadata"]["annotations"].pop("whisper-operator.io/settings-hash")
    assert len(digest) == 16
    return deployment


def test_minimal_spec_makes_these_documents() -> None:
    made = children(parsed_endpoint())
    assert list(made) == [
        "ServiceAccount",
        "NetworkPolicy",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "PodMonitor",
    ]
    assert made["ServiceAccount"] == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": METADATA,
        "automountServiceAccountToken": False,
    }
    assert made["NetworkPolicy"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": METADATA,
        "spec": {
            "podSelector": SELECTOR,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"protocol": "TCP", "port": 8000}]},
                {"ports": [{"protocol": "TCP", "port": 9090}], "from": [{"podSelector": {}}]},
            ],
        },
    }
    assert made["Service"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": METADATA,
        "spec": {
            "type": "ClusterIP",
            "selector": {"whisper-operator.io/endpoint": "speech"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    assert made["PodDisruptionBudget"] == {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": METADATA,
        "spec": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": SELECTOR},
    }
    relabeling = {
        "action": "replace",
        "sourceLabels": ["__meta_kubernetes_pod_label_whisper_operator_io_endpoint"],
        "targetLabel": "whisper_endpoint",
    }
    assert made["PodMonitor"] == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": METADATA,
        "spec": {
            "selector": SELECTOR,
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "relabelings": [relabeling]}],
        },
    }
    assert without_digests(made["Deployment"]) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": METADATA,
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 15 + 600 + 10 + 600 + 1800,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": SELECTOR,
            "template": {
                "metadata": {"labels": LABELS, "annotations": {}},
                "spec": {
                    "serviceAccountName": "speech",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 625,
                    "securityContext": POD_SECURITY,
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {"matchExpressions": [*PLATFORM, *term["matchExpressions"]]}
                                    for term in node_selector_terms(Gpu())
                                ]
                            }
                        }
                    },
                    "tolerations": ON_GPU_NODES,
                    "containers": [
                        {
                            "name": "server",
                            "image": GPU_IMAGE,
                            "imagePullPolicy": "IfNotPresent",
                            "ports": PORTS,
                            "env": [
                                {"name": "MODEL_ID", "value": "demo"},
                                {"name": "PORT", "value": "8000"},
                                {"name": "METRICS_PORT", "value": "9090"},
                                {"name": "DRAIN_SECONDS", "value": "15"},
                                {"name": "SHUTDOWN_SECONDS", "value": "600"},
                                {"name": "HF_HOME", "value": "/scratch/models/huggingface"},
                                {"name": "MODEL_CACHE_DIR", "value": "/scratch/models/converted"},
                                *FOLDERS,
                                {"name": "MEMORY_REQUEST_BYTES", "value": str(7 << 30)},
                            ],
                            "resources": {
                                "requests": {"cpu": "2", "memory": "7Gi", "nvidia.com/gpu": "1"},
                                "limits": {"nvidia.com/gpu": "1"},
                            },
                            "securityContext": CONTAINER_SECURITY,
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "startupProbe": probe("/ready", 2, 900),
                            "readinessProbe": probe("/ready", 5, 3),
                            "livenessProbe": probe("/health", 10, 6),
                            "volumeMounts": [*SCRATCH_MOUNTS, {"name": "shm", "mountPath": "/dev/shm"}],
                        }
                    ],
                    "volumes": [{"name": "scratch", "emptyDir": {}}, SHM],
                },
            },
        },
    }


FULL_SPEC: Document = {
    "model": {
        "id": "openai/whisper-large-v3",
        "revision": "v1.2",
        "servedNames": ["whisper-1", "speech"],
        "tokenSecretRef": {"name": "hugging-face"},
    },
    "gpu": {"class": "t4", "minMemoryGiB": 14},
    "engine": {"maxBatchedTokens": 3000, "gpuMemoryUtilization": 0.85},
    "transcription": {
        "languageForce": "fa",
        "timestamps": "none",
        "maxAudioSeconds": 20_000,
        "segmentDurationSeconds": 25.5,
    },
    "access": {
        "apiKeysSecretRef": {"name": "clients"},
        "maxUploadBytes": 104_857_600,
        "maxQueueSeconds": 60,
        "quotas": {"maxRequests": 4, "maxAudioSecondsPerMinute": 600, "maxBytes": 1_073_741_824},
        "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
        "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]},
    },
    "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    "exposure": {
        "ingress": {
            "className": "contour",
            "host": "speech.example.com",
            "path": "/speech",
            "tls": {"secretName": "speech-tls"},
            "annotations": {"projectcontour.io/num-retries": "5", "example.com/team": "a"},
        }
    },
    "replicas": 3,
    "autoscaling": {"minReplicas": 2, "maxReplicas": 8, "metric": "queue", "target": 120},
    "cache": {"persistentVolumeClaim": {"size": "20Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"]}},
    "rollout": {
        "maxSurge": "25%",
        "maxUnavailable": 0,
        "startupSeconds": 604,
        "drainSeconds": 20,
        "shutdownSeconds": 70,
    },
    "pod": {
        "image": "team/whisper:2",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull-a"}, {"name": "pull-b"}],
        "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "12Gi"}},
        "nodeSelector": {"pool": "speech"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                    ]
                },
            },
        },
        "tolerations": [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "speech",
        "runtimeClassName": "nvidia",
        "serviceAccountName": "mine",
        "fsGroup": 3000,
        "labels": {"team": "a"},
        "annotations": {"example.com/note": "hello"},
        "env": [{"name": "LOG_LEVEL", "value": "debug"}, {"name": "HF_ENDPOINT", "value": "https://own.example"}],
    },
}
FULL_DEFAULTS: Document = {
    "image_registry": "mirror.example:5000/hub/",
    "image_pull_secrets": ("pull-a",),
    "http_proxy": "http://proxy:3128",
    "https_proxy": "http://proxy:3129",
    "no_proxy": ".svc,10.0.0.0/8",
    "ca_bundle_config_map": "company-ca",
    "hf_endpoint": "https://hub.example",
    "offline": True,
    "tolerations": ({"key": "dedicated", "operator": "Exists"},),
    "node_selector": {"kubernetes.io/os": "linux", "pool": "any"},
    "pod_annotations": {"example.com/mesh": "off"},
    "pod_labels": {"cost": "42"},
    "env": ({"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "PORT", "value": "1"}),
}


def full_settings() -> Settings:
    return operator_settings(
        monitoring_namespace="monitoring", pod_monitor_labels={"release": "prometheus"}, defaults=FULL_DEFAULTS
    )


def test_full_t4_spec_makes_this_deployment() -> None:
    made = children(parsed_endpoint(FULL_SPEC), full_settings(), "projectcontour.io/ingress/contour")
    deployment = without_digests(made["Deployment"])
    template = deployment["spec"].pop("template")
    assert deployment["spec"] == {
        "replicas": 3,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": 100 + 600 + 604,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "selector": SELECTOR,
    }
    assert template["metadata"] == {
        "labels": {"cost": "42", "team": "a", **LABELS},
        "annotations": {"example.com/mesh": "off", "example.com/note": "hello"},
    }
    wanted = [
        {"matchExpressions": [*PLATFORM, *term["matchExpressions"], {"key": "zone", "operator": "In", "values": ["a"]}]}
        for term in node_selector_terms(Gpu(class_=GpuClass.T4, min_memory_gib=14))
    ]
    (container,) = template["spec"].pop("containers")
    assert template["spec"] == {
        "serviceAccountName": "mine",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 100,
        "securityContext": {**POD_SECURITY, "fsGroup": 3000},
        "nodeSelector": {"kubernetes.io/os": "linux", "pool": "speech"},
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": wanted}},
        },
        "tolerations": [
            *ON_GPU_NODES,
            {"key": "dedicated", "operator": "Exists"},
        ],
        "topologySpreadConstraints": [
            {
                "labelSelector": SELECTOR,
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
            }
        ],
        "priorityClassName": "speech",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "pull-a"}, {"name": "pull-b"}],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "cache", "persistentVolumeClaim": {"claimName": "speech-cache"}},
            SHM,
            {"name": "api-keys", "secret": {"secretName": "clients", "defaultMode": 0o444, "optional": False}},
            {
                "name": "ca-bundle",
                "configMap": {
                    "name": "company-ca",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    "defaultMode": 0o444,
                    "optional": False,
                },
            },
        ],
    }
    env = container.pop("env")
    assert container == {
        "name": "server",
        "image": "mirror.example:5000/hub/team/whisper:2",
        "imagePullPolicy": "Always",
        "ports": PORTS,
        "resources": {
            "requests": {"cpu": "3", "nvidia.com/gpu": "1"},
            "limits": {"memory": "12Gi", "nvidia.com/gpu": "1"},
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": probe("/ready", 2, 302),
        "readinessProbe": probe("/ready", 5, 3),
        "livenessProbe": probe("/health", 10, 6),
        "volumeMounts": [
            *SCRATCH_MOUNTS,
            {"name": "cache", "mountPath": "/cache"},
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "api-keys", "mountPath": "/etc/whisper/api-keys", "readOnly": True},
            {"name": "ca-bundle", "mountPath": "/etc/whisper/ca", "readOnly": True},
        ],
    }
    ca_file = "/etc/whisper/ca/ca.crt"
    assert env == [
        {"name": "MODEL_ID", "value": "openai/whisper-large-v3"},
        {"name": "MODEL_REVISION", "value": "v1.2"},
        {"name": "SERVED_MODEL_NAMES", "value": "whisper-1,speech"},
        {"name": "ENGINE", "value": "vllm"},
        {"name": "VLLM_MAX_NUM_BATCHED_TOKENS", "value": "3000"},
        {"name": "VLLM_GPU_MEMORY_UTILIZATION", "value": "0.85"},
        {"name": "LANGUAGE_FORCE", "value": "fa"},
        {"name": "TIMESTAMPS", "value": "none"},
        {"name": "MAX_AUDIO_SECONDS", "value": "20000"},
        {"name": "MAX_DECODED_SECONDS", "value": "20000"},
        {"name": "WHISPER_SEGMENT_DURATION_SEC", "value": "25.5"},
        {"name": "PORT", "value": "8000"},
        {"name": "METRICS_PORT", "value": "9090"},
        {"name": "ROOT_PATH", "value": "/speech"},
        {"name": "API_KEYS_DIR", "value": "/etc/whisper/api-keys"},
        {"name": "MAX_UPLOAD_BYTES", "value": "104857600"},
        {"name": "MAX_QUEUE_SECONDS", "value": "60"},
        {"name": "MAX_REQUESTS_PER_CLIENT", "value": "4"},
        {"name": "MAX_AUDIO_SECONDS_PER_MINUTE", "value": "600"},
        {"name": "MAX_BYTES_PER_CLIENT", "value": "1073741824"},
        {"name": "TRUSTED_PROXIES", "value": "10.0.0.0/8,fd00::/8"},
        {"name": "DRAIN_SECONDS", "value": "20"},
        {"name": "SHUTDOWN_SECONDS", "value": "70"},
        {"name": "HF_HOME", "value": "/cache/huggingface"},
        {"name": "MODEL_CACHE_DIR", "value": "/cache/converted"},
        *FOLDERS,
        {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
        {"name": "http_proxy", "value": "http://proxy:3128"},
        {"name": "HTTPS_PROXY", "value": "http://proxy:3129"},
        {"name": "https_proxy", "value": "http://proxy:3129"},
        {"name": "NO_PROXY", "value": ".svc,10.0.0.0/8"},
        {"name": "no_proxy", "value": ".svc,10.0.0.0/8"},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "SSL_CERT_FILE", "value": ca_file},
        {"name": "REQUESTS_CA_BUNDLE", "value": ca_file},
        {"name": "CURL_CA_BUNDLE", "value": ca_file},
        {
            "name": "HF_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "hugging-face", "key": "token", "optional": False}},
        },
        {"name": "OMP_NUM_THREADS", "value": "1"},
        {"name": "LOG_LEVEL", "value": "debug"},
        {"name": "HF_ENDPOINT", "value": "https://own.example"},
    ]


def test_full_t4_spec_makes_these_other_children() -> None:
    made = children(parsed_endpoint(FULL_SPEC), full_settings(), "projectcontour.io/ingress/contour")
    assert list(made) == [
        "PersistentVolumeClaim",
        "NetworkPolicy",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "Ingress",
        "HorizontalPodAutoscaler",
        "PodMonitor",
    ]
    assert made["PersistentVolumeClaim"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**METADATA, "name": "speech-cache"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "20Gi"}},
            "storageClassName": "fast",
        },
    }
    assert made["NetworkPolicy"]["spec"]["ingress"] == [
        {
            "ports": [{"protocol": "TCP", "port": 8000}],
            "from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
        },
        {
            "ports": [{"protocol": "TCP", "port": 9090}],
            "from": [
                {"podSelector": {}},
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
            ],
        },
    ]
    told = {"projectcontour.io/max-retries": "1024", "example.com/internal": "true"}
    assert made["Service"]["metadata"] == {**METADATA, "annotations": told}
    assert made["Service"]["spec"]["type"] == "LoadBalancer"
    backend = {"service": {"name": "speech", "port": {"name": "http"}}}
    assert made["Ingress"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            **METADATA,
            "annotations": {
                "projectcontour.io/response-timeout": "infinity",
                "projectcontour.io/retry-on": "connect-failure",
                "projectcontour.io/num-retries": "5",
                "ingress.kubernetes.io/force-ssl-redirect": "true",
                "projectcontour.io/websocket-routes": "/speech/v1",
                "example.com/team": "a",
            },
        },
        "spec": {
            "ingressClassName": "contour",
            "tls": [{"hosts": ["speech.example.com"], "secretName": "speech-tls"}],
            "rules": [
                {
                    "host": "speech.example.com",
                    "http": {
                        "paths": [
                            {"path": "/speech/v1", "pathType": "Prefix", "backend": backend},
                            {"path": "/speech/docs", "pathType": "Prefix", "backend": backend},
                            {"path": "/speech/openapi.json", "pathType": "Exact", "backend": backend},
                        ]
                    },
                }
            ],
        },
    }
    autoscaler = made["HorizontalPodAutoscaler"]["spec"]
    behavior = autoscaler.pop("behavior")
    target = {"type": "AverageValue", "averageValue": "120"}
    assert autoscaler == {
        "scaleTargetRef": {"apiVersion": "whisper-operator.io/v1alpha1", "kind": "WhisperEndpoint", "name": "speech"},
        "minReplicas": 2,
        "maxReplicas": 8,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": "whisper_queue_audio_seconds"}, "target": target}}],
    }
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > behavior["scaleUp"]["stabilizationWindowSeconds"]
    assert made["PodMonitor"]["metadata"]["labels"] == {"release": "prometheus", **LABELS}


def test_cpu_server_gets_its_engine_and_requests_no_gpu() -> None:
    made = children(parsed_endpoint({"gpu": {"class": "none"}, "cache": {"emptyDir": {"sizeLimit": "10Gi"}}}))
    spec = made["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    (container,) = pod.pop("containers")
    assert pod == {
        "serviceAccountName": "speech",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 625,
        "securityContext": POD_SECURITY,
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": PLATFORM}]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchExpressions": without_gpu()}}
                ],
            }
        },
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "10Gi"}}],
    }
    assert container["image"] == CPU_IMAGE
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}}
    assert container["volumeMounts"] == SCRATCH_MOUNTS
    assert container["env"] == [
        {"name": "MODEL_ID", "value": "demo"},
        {"name": "ENGINE", "value": "ctranslate2"},
        {"name": "PORT", "value": "8000"},
        {"name": "METRICS_PORT", "value": "9090"},
        {"name": "DRAIN_SECONDS", "value": "15"},
        {"name": "SHUTDOWN_SECONDS", "value": "600"},
        {"name": "HF_HOME", "value": "/scratch/models/huggingface"},
        {"name": "MODEL_CACHE_DIR", "value": "/scratch/models/converted"},
        *FOLDERS,
        {"name": "MEMORY_REQUEST_BYTES", "value": str(2 << 30)},
    ]


def test_gateway_spec_makes_an_http_route() -> None:
    gateway = {"parentRefs": [{"name": "edge", "namespace": "infra"}], "hostnames": ["a.example", "b.example"]}
    made = children(parsed_endpoint({"exposure": {"gateway": gateway}}))
    assert made["HTTPRoute"] == {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": METADATA,
        "spec": {
            "parentRefs": [{"name": "edge", "namespace": "infra"}],
            "hostnames": ["a.example", "b.example"],
            "rules": [
                {
                    "matches": [
                        {"path": {"type": "PathPrefix", "value": "/v1"}},
                        {"path": {"type": "PathPrefix", "value": "/docs"}},
                        {"path": {"type": "Exact", "value": "/openapi.json"}},
                    ],
                    "backendRefs": [{"name": "speech", "port": 80}],
                    "timeouts": {"request": "0s", "backendRequest": "0s"},
                }
            ],
        },
    }


@pytest.mark.parametrize("kind", ["HTTPRoute", "PodMonitor"])
def test_kind_that_the_cluster_lacks_is_not_made(kind: str) -> None:
    endpoint = parsed_endpoint({"exposure": {"gateway": {"parentRefs": [{"name": "edge"}]}}})
    made = make_children(endpoint, operator_settings(), served_kinds=SERVED - {kind}, ingress_controller="")
    assert kind not in {child["kind"] for child in made}
    assert (SERVED - {kind}) <= {child["kind"] for child in made}
