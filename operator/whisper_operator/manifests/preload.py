"""The Job that fills the cache's volume before the first pod starts, and again before pods get another model.

It runs the server's own image and command, where the server would run, without a GPU. A Job's template is immutable, so
its name is made of it; a Deployment's annotation says what was preloaded for its pods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from whisper_operator import names
from whisper_operator.errors import SpecError
from whisper_operator.manifests.documents import metadata, plain, pod_selector, present
from whisper_operator.manifests.placement import PREFERRED
from whisper_operator.manifests.pods import make_pod_template
from whisper_operator.manifests.resolved import engine_of, uses_gpu
from whisper_operator.manifests.resources import make_resources
from whisper_operator.manifests.volumes import claim_name, may_be_held_by_one_node
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_runtime.choices import EngineName

NEVER_GIVES_UP = 1_000_000
"""The kubelet's back-off between attempts grows to 5 minutes; a fixed Secret or network then heals by itself."""
FETCHES = {"cpu": "250m", "memory": "1Gi"}
"""Requests of a Job that only downloads; one that converts needs what the server needs for it."""
TRUE_WORDS = frozenset({"1", "ON", "YES", "TRUE"})
"""As huggingface_hub reads its variables."""
SERVER_ONLY = frozenset({"shm", "api-keys"})
"""Volumes."""


def preload_key(endpoint: Endpoint) -> str:
    """Names the content of the volume that pods wait for; empty: they wait for none."""
    if endpoint.spec.cache is None or not endpoint.spec.cache.preload:
        return ""
    what = [*_of_the_files(endpoint), claim_name(endpoint), engine_of(endpoint) is EngineName.CTRANSLATE2]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _of_the_files(endpoint: Endpoint) -> list[str]:
    """What decides about the files, without the Secrets to read them with."""
    model = endpoint.spec.model
    return [model.id, model.revision, model.sha256 or "", (model.s3.endpoint_url if model.s3 else None) or ""]


def is_preloaded(endpoint: Endpoint, deployed: Document | None, jobs: Iterable[Document]) -> bool:
    """Whether the volume has what the spec asks for: the Deployment remembers it, or a Job has just fetched it."""
    key = preload_key(endpoint)
    return key in {preloaded_for(deployed), *(preloaded_for(job) for job in jobs if _is_complete(job))}


def waits_for_preload(endpoint: Endpoint, deployed: Document | None, jobs: Iterable[Document]) -> bool:
    """Whether the pods wait until a Job is done. A suspended endpoint has no pods that could."""
    return bool(preload_key(endpoint)) and not endpoint.spec.suspend and not is_preloaded(endpoint, deployed, jobs)


def needs_job(endpoint: Endpoint, deployed: Document | None) -> bool:
    """Whether there is a Job: until the Deployment remembers it, so that a Deployment that is refused starts no other Job."""
    key = preload_key(endpoint)
    return bool(key) and not endpoint.spec.suspend and preloaded_for(deployed) != key


def preloaded_for(document: Document | None) -> str:
    """The key that a Deployment or a Job has; empty: none."""
    annotations = ((document or {}).get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(names.PRELOADED_ANNOTATION, ""))


def held_replicas(endpoint: Endpoint, deployed: Document) -> int:
    """Pods of a Deployment that keeps an earlier model: as many as asked for, if that model was preloaded, too."""
    there = int(deployed["spec"].get("replicas", 1))
    wanted = endpoint.spec.replicas
    return wanted if preloaded_for(deployed) else min(wanted, there)


def make_preload_job(endpoint: Endpoint, settings: Settings) -> dict[str, Any]:
    """Raises SpecError for a Job that could never download the model."""
    key = preload_key(endpoint)
    template = _template(endpoint, settings)
    _check_network(endpoint, template["spec"]["containers"][0]["env"])
    digest = hashlib.sha256(json.dumps([key, template], sort_keys=True).encode()).hexdigest()[:8]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(
            endpoint,
            name=names.preload_job_name(endpoint.name, digest),
            annotations={names.PRELOADED_ANNOTATION: key},
        ),
        "spec": {"backoffLimit": NEVER_GIVES_UP, "template": template},
    }


def _check_network(endpoint: Endpoint, variables: Iterable[Document]) -> None:
    """Downloads from other addresses than the hub do not depend on HF_HUB_OFFLINE."""
    offline = next((one.get("value", "") for one in variables if one["name"] == "HF_HUB_OFFLINE"), "")
    if endpoint.spec.model.is_hub_id and offline.upper() in TRUE_WORDS:
        raise SpecError(
            "cache.preload",
            "HF_HUB_OFFLINE=1 keeps the Job from the Hugging Face hub: leave preload out and fill the volume otherwise, write an"
            " oci://, s3:// or https:// address in model.id, or have defaults.offline of the operator's chart (or pod.env) changed",
        )


def _template(endpoint: Endpoint, settings: Settings) -> dict[str, Any]:
    written = make_pod_template(endpoint, settings, "")
    spec, annotations = written["spec"], written["metadata"]["annotations"]
    del annotations[names.SETTINGS_HASH_ANNOTATION]
    for other in ("resourceClaims", "topologySpreadConstraints", "terminationGracePeriodSeconds"):
        spec.pop(other, None)
    (server,) = spec["containers"]
    volumes = [volume for volume in spec["volumes"] if volume["name"] not in SERVER_ONLY]
    labels = {**written["metadata"]["labels"], **names.preload_labels_of(endpoint.name)}
    del labels[names.ENDPOINT_LABEL]  # the Service, the budget and the Deployment select by it
    return {
        "metadata": {"labels": labels, **present(annotations=annotations)},
        "spec": {
            **spec,
            "restartPolicy": "OnFailure",
            **present(affinity=_near_the_pods(endpoint, spec.get("affinity") or {})),
            "containers": [_container(endpoint, server)],
            "volumes": volumes,
        },
    }


def _container(endpoint: Endpoint, server: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "image", "imagePullPolicy", "securityContext", "terminationMessagePolicy")
    ours = [{"name": "LOG_FORMAT", "value": "json"}]
    if uses_gpu(endpoint):  # it requests none, and the image asks NVIDIA's runtime for all
        ours.append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    replaced = {"MEMORY_REQUEST_BYTES", *(variable["name"] for variable in ours)}
    return {
        **{name: server[name] for name in kept},
        "args": ["fetch"],
        "env": [*(one for one in server["env"] if one["name"] not in replaced), *ours],
        "resources": _resources(endpoint),
        "volumeMounts": [one for one in server["volumeMounts"] if one["name"] not in SERVER_ONLY],
    }


def _resources(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.spec.pod.resources is not None:
        return dict(plain(endpoint.spec.pod.resources))
    if engine_of(endpoint) is EngineName.CTRANSLATE2:
        return make_resources(endpoint)
    return {"requests": dict(FETCHES)}


def _near_the_pods(endpoint: Endpoint, affinity: dict[str, Any]) -> dict[str, Any]:
    """A volume for one node is where the pods are that use it now; without pods the Job may run anywhere."""
    if not may_be_held_by_one_node(endpoint):
        return affinity
    theirs = affinity.get("podAffinity") or {}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": pod_selector(endpoint)}
    preferred = [*(theirs.get(PREFERRED) or ()), {"weight": 100, "podAffinityTerm": term}]
    return {**affinity, "podAffinity": {**theirs, PREFERRED: preferred}}


def _is_complete(job: Document) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)
