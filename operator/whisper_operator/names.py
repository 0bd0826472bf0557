"""Every name that the operator uses: groups, labels, annotations, children. Only this module builds names. Pure."""

from __future__ import annotations

from collections.abc import Mapping

GROUP = "whisper-operator.io"
VERSION = "v1alpha1"
KIND = "WhisperEndpoint"
PLURAL = "whisperendpoints"
SINGULAR = "whisperendpoint"
SHORT_NAME = "wep"
API_VERSION = f"{GROUP}/{VERSION}"
CRD_NAME = f"{PLURAL}.{GROUP}"

FIELD_MANAGER = "whisper-operator"
STATUS_FIELD_MANAGER = "whisper-operator-status"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
ENDPOINT_LABEL = f"{GROUP}/endpoint"
"""On every child and pod: the name of the endpoint."""
SETTINGS_HASH_ANNOTATION = f"{GROUP}/settings-hash"
"""On the pods: a hash of the settings that affect them, and of nothing else."""
TEMPLATE_ANNOTATION = f"{GROUP}/pod-template"
"""On the Deployment: the pod template pinned for its settings; see `manifests.pinned_template`."""
OWN_IMAGE_ANNOTATION = f"{GROUP}/own-image"
"""On a Deployment whose image is the spec's, not the operator's default."""
STAGED_IMAGE_ANNOTATION = f"{GROUP}/staged-image"
"""On a Deployment that gets this default image in its turn, until all pods run it; see `reconcile.image_rollout`."""

PRELOADED_ANNOTATION = f"{GROUP}/preloaded"
"""On a Deployment: what its pods find in the cache's volume; on a Job: what it fetches."""
PRELOAD_LABEL = f"{GROUP}/preload"
"""On the pods of that Job: the name of the endpoint."""

CONTAINER = "server"
HTTP_PORT_NAME = "http"
METRICS_PORT_NAME = "metrics"
HTTP_PORT = 8000
METRICS_PORT = 9090
SERVICE_PORT = 80


def labels_of(endpoint_name: str) -> dict[str, str]:
    """Labels of all children of an endpoint, its pods included."""
    return {
        "app.kubernetes.io/name": "whisper-server",
        "app.kubernetes.io/instance": endpoint_name,
        "app.kubernetes.io/component": "speech-to-text",
        MANAGED_BY_LABEL: FIELD_MANAGER,
        ENDPOINT_LABEL: endpoint_name,
    }


def preload_labels_of(endpoint_name: str) -> dict[str, str]:
    """Labels of the pods that preload a model, which select them and set them apart from the endpoint's pods."""
    return {"app.kubernetes.io/component": "model-preload", PRELOAD_LABEL: endpoint_name}


def selector_of(endpoint_name: str) -> dict[str, str]:
    """Selects the pods of an endpoint. Immutable in a Deployment, so it holds nothing else."""
    return {ENDPOINT_LABEL: endpoint_name}


def selector_text(endpoint_name: str) -> str:
    """The same selector as text, for the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in selector_of(endpoint_name).items())


def child_name(endpoint_name: str) -> str:
    """Name of an endpoint's Deployment, Service, ServiceAccount and every other child of which there is one."""
    return endpoint_name


def cache_claim_name(endpoint_name: str) -> str:
    """Name of the PersistentVolumeClaim that the operator creates for an endpoint."""
    return f"{endpoint_name}-cache"


def preload_name(endpoint_name: str) -> str:
    """Name of the NetworkPolicy of the pods that preload a model."""
    return f"{endpoint_name}-preload"


def preload_job_name(endpoint_name: str, digest: str) -> str:
    return f"{preload_name(endpoint_name)}-{digest}"


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether an object carries the operator's labels."""
    return labels.get(MANAGED_BY_LABEL) == FIELD_MANAGER and ENDPOINT_LABEL in labels
