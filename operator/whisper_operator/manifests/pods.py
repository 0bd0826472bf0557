"""The pod template. It meets PodSecurity `restricted`.

It must not contain versions or names of charts, because a change restarts pods. Running pods keep the template that they
were started with until their settings change; see `pinned_template`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from whisper_operator import names
from whisper_operator.manifests.containers import UNPRIVILEGED, init_containers
from whisper_operator.manifests.device_claims import pod_claims
from whisper_operator.manifests.documents import plain, present
from whisper_operator.manifests.environment import environment
from whisper_operator.manifests.placement import placement
from whisper_operator.manifests.resolved import image_of
from whisper_operator.manifests.resources import make_resources
from whisper_operator.manifests.volumes import volumes_and_mounts
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

GRACE_MARGIN_S = 10
"""Between the end of the server's own shutdown and SIGKILL."""
STARTUP_PERIOD_S = 2
"""Short, because a rollout waits for each server, and so for the next probe after it is loaded."""


def make_pod_template(endpoint: Endpoint, settings: Settings, digest: str) -> dict[str, Any]:
    """`spec.template` of the Deployment; `digest` is the hash of its settings."""
    common, pod, defaults = endpoint.spec, endpoint.spec.pod, settings.defaults
    volumes, mounts = volumes_and_mounts(endpoint, settings)
    spec = {
        "serviceAccountName": pod.service_account_name or names.child_name(endpoint.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # an endpoint named vllm must not set VLLM_PORT
        "terminationGracePeriodSeconds": grace_period_s(endpoint),
        "securityContext": _pod_security(endpoint, settings),
        **placement(endpoint, settings),
        **present(imagePullSecrets=_pull_secrets(endpoint, settings)),
        **present(hostAliases=plain(pod.host_aliases), dnsConfig=plain(pod.dns_config)),
        **present(resourceClaims=pod_claims(endpoint)),
        **present(initContainers=init_containers(endpoint, settings)),
        "containers": [_container(endpoint, settings, mounts)],
        "volumes": volumes,
    }
    metadata = {
        "labels": {**defaults.pod_labels, **common.common_labels, **pod.labels, **names.labels_of(endpoint.name)},
        "annotations": {
            **defaults.pod_annotations,
            **common.common_annotations,
            **pod.annotations,
            names.SETTINGS_HASH_ANNOTATION: digest,
        },
    }
    return {"metadata": metadata, "spec": spec}


def grace_period_s(endpoint: Endpoint) -> int:
    """From SIGTERM to SIGKILL."""
    rollout = endpoint.spec.rollout
    return rollout.drain_seconds + rollout.shutdown_seconds + GRACE_MARGIN_S


def _container(endpoint: Endpoint, settings: Settings, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    resources = make_resources(endpoint)
    return {
        "name": names.CONTAINER,
        "image": image_of(endpoint, settings),
        "imagePullPolicy": str(endpoint.spec.pod.image_pull_policy or settings.defaults.image_pull_policy),
        "ports": [
            {"name": names.HTTP_PORT_NAME, "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": names.METRICS_PORT_NAME, "containerPort": names.METRICS_PORT, "protocol": "TCP"},
        ],
        "env": environment(endpoint, settings, resources),
        "resources": resources,
        "securityContext": {
            **plain(UNPRIVILEGED),
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(endpoint),
        "volumeMounts": mounts,
    }


def _pod_security(endpoint: Endpoint, settings: Settings) -> dict[str, Any]:
    """The user id is the spec's, else the image's, or OpenShift's; a fixed one would not work everywhere."""
    pod = endpoint.spec.pod
    wanted = {"runAsUser": pod.security_context.run_as_user, "runAsGroup": pod.security_context.run_as_group}
    user = {name: number for name, number in wanted.items() if number is not None}
    fs_group = pod.fs_group if pod.fs_group is not None else settings.defaults.fs_group
    group = {} if fs_group is None else {"fsGroup": fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **user, **group}


def _probes(endpoint: Endpoint) -> dict[str, Any]:
    """`/ready` succeeds once the model is loaded and warmed up, but not while draining; `/health` while the process is alive."""
    startup_s = endpoint.spec.rollout.startup_seconds
    return {
        "startupProbe": _probe("/ready", STARTUP_PERIOD_S, failures=math.ceil(startup_s / STARTUP_PERIOD_S)),
        "readinessProbe": _probe("/ready", 5, failures=3),
        "livenessProbe": _probe("/health", 10, failures=6),
    }


def _probe(path: str, period_s: int, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.HTTP_PORT_NAME},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _pull_secrets(endpoint: Endpoint, settings: Settings) -> list[dict[str, str]]:
    wanted: Iterable[str] = (
        *settings.defaults.image_pull_secrets,
        *(each.name for each in endpoint.spec.pod.image_pull_secrets),
    )
    return [{"name": name} for name in dict.fromkeys(wanted)]
