"""The part of the spec about the pods: cache, rollout, pod template. Data only; see `spec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from whisper_operator.resource import choices
from whisper_operator.resource.fields import (
    IMAGE,
    LABEL_VALUE,
    OBJECT_NAME,
    REQUIRED,
    Document,
    IntOrPercent,
    Quantity,
    spec_field,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmptyDir:
    """A folder with the lifetime of its pod."""

    size_limit: Quantity | None = spec_field("Largest size; a pod that writes more is evicted.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeClaim:
    """A PersistentVolumeClaim that is created for the endpoint and deleted with it."""

    size: Quantity = spec_field("Size of the volume. It can grow if the storage class allows it.", REQUIRED)
    storage_class_name: str | None = spec_field(
        "Storage class. Absent: the cluster's default one. Cannot be changed.",
        maxLength=253,
        pattern=f"^({OBJECT_NAME['pattern'].strip('^$')})?$",
    )
    access_modes: tuple[choices.AccessMode, ...] = spec_field(
        "How the volume is mounted. Several pods on several nodes need ReadWriteMany; with ReadWriteOnce all pods must fit on one node, and the status names one that does not. Cannot be changed.",
        (choices.AccessMode.READ_WRITE_ONCE,),
        minItems=1,
        maxItems=3,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageVolume:
    """An OCI image that holds the model, mounted read-only."""

    reference: str = spec_field(
        "Image whose files are mounted at /models; model.id is then a folder below it, such as /models/whisper-large-v3. Needs Kubernetes 1.33 or later.",
        REQUIRED,
        **IMAGE,
    )
    pull_policy: choices.PullPolicy | None = spec_field("When the image is pulled. Absent: if not present.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cache:
    """Where downloaded and converted models are kept: one of these."""

    empty_dir: EmptyDir | None = spec_field("In the pod: each new pod downloads them again.")
    persistent_volume_claim: VolumeClaim | None = spec_field(
        "In a volume that is created for the endpoint and deleted with it."
    )
    existing_claim: str | None = spec_field(
        "In a volume of yours: the name of a PersistentVolumeClaim, never deleted by the operator. It is mounted at /cache and must be writable: downloads go to huggingface below it, converted models to converted. A folder of yours there can be model.id, such as /cache/mine.",
        **OBJECT_NAME,
    )
    image: ImageVolume | None = spec_field("The model comes as an OCI image.")
    preload: bool = spec_field(
        "true: a Job downloads the model into the volume before the first pod starts, and before pods get another model; see the condition Preloaded. Needs persistentVolumeClaim or existingClaim.",
        False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollout:
    """How pods are replaced, started and stopped."""

    max_surge: IntOrPercent | None = spec_field(
        "Pods more than replicas during a rollout, as a number or a share such as 25%. Absent: 0 with GPUs, so that no spare one is needed, and with volumes for one node; else, and where maxUnavailable is 0, 1.",
        maximum=1000,
        maxLength=4,
        pattern=r"^[0-9]{1,3}%$",
    )
    max_unavailable: IntOrPercent | None = spec_field(
        "Pods fewer than replicas during a rollout, as a number or a share such as 25%. Absent: 1 with GPUs, with volumes for one node, and where maxSurge is 0; else 0.",
        maximum=1000,
        maxLength=4,
        pattern=r"^(100|[0-9]{1,2})%$",
    )
    startup_seconds: int = spec_field(
        "Longest time from a pod's start until its model is loaded, downloads included.",
        1800,
        minimum=10,
        maximum=86_400,
    )
    drain_seconds: int = spec_field(
        "After SIGTERM: time during which new requests are still served, until no proxy sends any more.",
        15,
        minimum=0,
        maximum=3600,
    )
    shutdown_seconds: int = spec_field(
        "After that: time for running requests to finish.", 600, minimum=0, maximum=86_400
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DisruptionBudget:
    """A PodDisruptionBudget: how many pods a node drain may evict at a time."""

    enabled: bool = spec_field("Whether a PodDisruptionBudget is created.", True)
    max_unavailable: IntOrPercent = spec_field(
        "Pods that may be evicted at a time, as a number or a share such as 25%. 0: a drain waits until you scale up or change this.",
        1,
        maximum=1000,
        maxLength=4,
        pattern=r"^(100|[0-9]{1,2})%$",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalObjectReference:
    """A Secret in the endpoint's namespace."""

    name: str = spec_field("Name of the Secret.", REQUIRED, **OBJECT_NAME)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecurityContext:
    """The user that the pods' containers run as; all else is what PodSecurity `restricted` asks for."""

    run_as_user: int | None = spec_field(
        "User id, never root. Absent: the image's, or the one that OpenShift chooses.",
        minimum=1,
        maximum=2_147_483_647,
    )
    run_as_group: int | None = spec_field(
        "Group id. Absent: the image's, or root's group.", minimum=0, maximum=2_147_483_647
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pod:
    """Other fields of the pods."""

    image: str | None = spec_field("Image of the server. Absent: the operator's default for the engine.", **IMAGE)
    image_pull_policy: choices.PullPolicy | None = spec_field(
        "When the image is pulled. Absent: the operator's default."
    )
    image_pull_secrets: tuple[LocalObjectReference, ...] = spec_field(
        "Secrets of type kubernetes.io/dockerconfigjson that the image is pulled with.", (), maxItems=16
    )
    resources: Document | None = spec_field(
        "CPU and memory of the server's container. The operator adds the GPU. Absent: requests that suit the model, the longest recording and the largest upload.",
        embedded="io.k8s.api.core.v1.ResourceRequirements",
    )
    node_selector: Mapping[str, str] = spec_field(
        "Labels that nodes must have.", {}, maxProperties=64, values=LABEL_VALUE
    )
    affinity: Document | None = spec_field(
        "Affinity; node terms are combined with those of gpu.class, so that both hold.",
        embedded="io.k8s.api.core.v1.Affinity",
    )
    tolerations: tuple[Document, ...] = spec_field(
        "Tolerations besides the one for GPU nodes.", (), embedded="io.k8s.api.core.v1.Toleration", maxItems=32
    )
    topology_spread_constraints: tuple[Document, ...] = spec_field(
        "How pods spread over zones and nodes. A constraint without labelSelector gets the endpoint's own.",
        (),
        embedded="io.k8s.api.core.v1.TopologySpreadConstraint",
        maxItems=8,
    )
    scheduler_name: str | None = spec_field("Scheduler. Absent: the cluster's default one.", **OBJECT_NAME)
    priority_class_name: str | None = spec_field("Priority class.", **OBJECT_NAME)
    runtime_class_name: str | None = spec_field("Runtime class, such as nvidia.", **OBJECT_NAME)
    service_account_name: str | None = spec_field(
        "Service account. Absent: one without any rights is created. No token is mounted in either case.", **OBJECT_NAME
    )
    fs_group: int | None = spec_field(
        "Group that owns mounted volumes. Absent: the operator's default.", minimum=0, maximum=2_147_483_647
    )
    security_context: SecurityContext = spec_field("The user that the pods' containers run as.", SecurityContext())
    labels: Mapping[str, str] = spec_field(
        "Labels of the pods. Those of the operator cannot be set.", {}, maxProperties=64, values=LABEL_VALUE
    )
    annotations: Mapping[str, str] = spec_field("Annotations of the pods.", {}, maxProperties=64)
    env: tuple[Document, ...] = spec_field(
        "Environment variables of the server that have no field here.",
        (),
        embedded="io.k8s.api.core.v1.EnvVar",
        maxItems=64,
    )
    host_aliases: tuple[Document, ...] = spec_field(
        "Host names that the pods know besides those of DNS.", (), embedded="io.k8s.api.core.v1.HostAlias", maxItems=32
    )
    dns_config: Document | None = spec_field(
        "Name servers, search domains and options in addition to the cluster's.",
        embedded="io.k8s.api.core.v1.PodDNSConfig",
    )
    volumes: tuple[Document, ...] = spec_field(
        "Volumes besides those of the operator: each a configMap, a secret, an emptyDir or a persistentVolumeClaim.",
        (),
        embedded="io.k8s.api.core.v1.Volume",
        maxItems=16,
    )
    volume_mounts: tuple[Document, ...] = spec_field(
        "Where the server's container has these volumes, such as /models.",
        (),
        embedded="io.k8s.api.core.v1.VolumeMount",
        maxItems=32,
    )
    init_containers: tuple[Document, ...] = spec_field(
        "Containers that end before the server starts, one after the other, once the sidecars run: to fetch a model, for instance. They may mount pod.volumes and the operator's volumes cache and scratch.",
        (),
        embedded="io.k8s.api.core.v1.Container",
        maxItems=8,
    )
    sidecars: tuple[Document, ...] = spec_field(
        "Containers that run beside the server, from before its start until after its end, with the same volumes as initContainers. Needs Kubernetes 1.29 or later.",
        (),
        embedded="io.k8s.api.core.v1.Container",
        maxItems=8,
    )
