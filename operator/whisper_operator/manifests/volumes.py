"""The volumes of the pods and where they are mounted: the root file system is read-only.

All caches are in one folder of the pod, `/scratch`; with a claim, the models are on the claim instead. The variables for
these folders are in `environment`.
"""

from __future__ import annotations

from typing import Any

from whisper_operator import names
from whisper_operator.manifests.documents import from_registry, metadata, plain, present
from whisper_operator.manifests.resolved import uses_gpu
from whisper_operator.resource.choices import AccessMode
from whisper_operator.resource.pod import Cache
from whisper_operator.resource.required_secrets import DOCKER_KEY
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

SCRATCH = "/scratch"
CLAIM = "/cache"
IMAGE = "/models"
API_KEYS = "/etc/whisper/api-keys"
REGISTRY = "/etc/whisper/registry"
CA_FOLDER = "/etc/whisper/ca"
CA_FILE = "ca.crt"
SHARED_MEMORY_LIMIT = "2Gi"
READ_BY_ALL = 0o444
"""A Secret's files belong to root, but the server runs as the image's user."""

VolumeAndMounts = tuple[dict[str, Any], tuple[dict[str, Any], ...]]
"""A volume, and where it is mounted."""


def claim_name(endpoint: Endpoint) -> str:
    """Name of the claim that holds the models; empty: none."""
    cache = endpoint.spec.cache or Cache()
    if cache.persistent_volume_claim is not None:
        return names.cache_claim_name(endpoint.name)
    return cache.existing_claim or ""


def may_be_held_by_one_node(endpoint: Endpoint) -> bool:
    """Whether a second pod on another node might wait for the first one's volume. For an existing claim we assume so."""
    cache = endpoint.spec.cache or Cache()
    if cache.persistent_volume_claim is not None:
        return AccessMode.READ_WRITE_MANY not in cache.persistent_volume_claim.access_modes
    return cache.existing_claim is not None


def cache_folder(endpoint: Endpoint) -> str:
    """Where downloaded and converted models are pinned_template."""
    return CLAIM if claim_name(endpoint) else f"{SCRATCH}/models"


def volumes_and_mounts(endpoint: Endpoint, settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`volumes` of the pod and `volumeMounts` of its container."""
    parts = [_scratch(endpoint), *_cache(endpoint, settings), *_shared_memory(endpoint)]
    parts += [*_api_keys(endpoint), *_registry(endpoint), *_ca_bundle(settings)]
    pod = endpoint.spec.pod
    return (
        [*(volume for volume, _ in parts), *plain(pod.volumes)],
        [*(mount for _, mounts in parts for mount in mounts), *plain(pod.volume_mounts)],
    )


def make_cache_claim(endpoint: Endpoint) -> dict[str, Any] | None:
    """The PersistentVolumeClaim for the endpoint, if the spec asks for one."""
    asked = endpoint.spec.cache.persistent_volume_claim if endpoint.spec.cache else None
    if asked is None:
        return None
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(endpoint, name=names.cache_claim_name(endpoint.name)),
        "spec": {
            "accessModes": [str(mode) for mode in asked.access_modes],
            "resources": {"requests": {"storage": str(asked.size)}},
            **present(storageClassName=asked.storage_class_name),
        },
    }


def _scratch(endpoint: Endpoint) -> VolumeAndMounts:
    folder = endpoint.spec.cache.empty_dir if endpoint.spec.cache else None
    volume = {"name": "scratch", "emptyDir": present(sizeLimit=folder.size_limit if folder else None)}
    return volume, (
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "scratch", "mountPath": "/tmp", "subPath": "tmp"},  # noqa: S108 - the pod's own
    )


def _cache(endpoint: Endpoint, settings: Settings) -> list[VolumeAndMounts]:
    claim = claim_name(endpoint)
    if claim:
        volume = {"name": "cache", "persistentVolumeClaim": {"claimName": claim}}
        return [(volume, ({"name": "cache", "mountPath": CLAIM},))]
    image = endpoint.spec.cache.image if endpoint.spec.cache else None
    if image is None:
        return []
    reference = from_registry(image.reference, settings.defaults.image_registry)
    volume = {
        "name": "models",
        "image": {"reference": reference, "pullPolicy": str(image.pull_policy or "IfNotPresent")},
    }
    return [(volume, ({"name": "models", "mountPath": IMAGE, "readOnly": True},))]


def _shared_memory(endpoint: Endpoint) -> list[VolumeAndMounts]:
    """Shared memory between vLLM's processes; it counts as memory of the container."""
    if not uses_gpu(endpoint):
        return []
    volume = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY_LIMIT}}
    return [(volume, ({"name": "shm", "mountPath": "/dev/shm"},))]  # noqa: S108 - likewise


def _api_keys(endpoint: Endpoint) -> list[VolumeAndMounts]:
    """Mounted as a folder, because a file mounted by subPath never changes."""
    secret = endpoint.spec.access.api_keys_secret_ref
    if secret is None:
        return []
    source = {"secretName": secret.name, "defaultMode": READ_BY_ALL, "optional": False}
    return [({"name": "api-keys", "secret": source}, ({"name": "api-keys", "mountPath": API_KEYS, "readOnly": True},))]


def _registry(endpoint: Endpoint) -> list[VolumeAndMounts]:
    """The password of the model's registry, under the name that Docker's configuration has."""
    secret = endpoint.spec.model.pull_secret_ref
    if secret is None:
        return []
    items = [{"key": DOCKER_KEY, "path": "config.json"}]
    source = {"secretName": secret.name, "items": items, "defaultMode": READ_BY_ALL, "optional": False}
    volume = {"name": "model-registry", "secret": source}
    return [(volume, ({"name": "model-registry", "mountPath": REGISTRY, "readOnly": True},))]


def _ca_bundle(settings: Settings) -> list[VolumeAndMounts]:
    config_map = settings.defaults.ca_bundle_config_map
    if not config_map:
        return []
    items = [{"key": CA_FILE, "path": CA_FILE}]
    source = {"name": config_map, "items": items, "defaultMode": READ_BY_ALL, "optional": False}
    return [
        ({"name": "ca-bundle", "configMap": source}, ({"name": "ca-bundle", "mountPath": CA_FOLDER, "readOnly": True},))
    ]
