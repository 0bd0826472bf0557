"""Enumerations of the spec that the server does not have; `whisper_runtime.choices` has the others. Data only."""

from __future__ import annotations

from enum import StrEnum


class GpuClass(StrEnum):
    """Which GPUs an endpoint may run on."""

    AUTO = "auto"
    NONE = "none"
    T4 = "t4"
    AMPERE = "ampere"
    ADA = "ada"
    HOPPER = "hopper"
    BLACKWELL = "blackwell"


class ServiceType(StrEnum):
    """How the Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Egress(StrEnum):
    """Where the pods may connect to."""

    ANY = "any"
    HUB = "hub"
    NONE = "none"


class AccessMode(StrEnum):
    """How many nodes or pods may mount a volume at the same time."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"
    READ_WRITE_MANY = "ReadWriteMany"


class PullPolicy(StrEnum):
    """When an image is pulled."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ScalingMetric(StrEnum):
    """What the number of replicas follows."""

    CPU = "cpu"
    QUEUE = "queue"
    RUNNING = "running"
    SESSIONS = "sessions"


# fmt: off
