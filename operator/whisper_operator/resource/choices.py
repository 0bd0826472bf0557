"""The fields of the spec that are one of a few words: an enum each. Data only."""

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


class EngineType(StrEnum):
    """What runs the model."""

    AUTO = "auto"
    VLLM = "vllm"
    CTRANSLATE2 = "ctranslate2"


class DType(StrEnum):
    """The numbers that the model computes in."""

    AUTO = "auto"
    HALF = "half"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    INT8 = "int8"


class KvCacheDType(StrEnum):
    """The numbers that vLLM's attention cache holds."""

    AUTO = "auto"
    FP16 = "fp16"
    FP8 = "fp8"
    FP32 = "fp32"


class AttentionBackend(StrEnum):
    """vLLM's attention backends."""

    FLASH_ATTN = "FLASH_ATTN"
    TRITON_ATTN = "TRITON_ATTN"
    FLASHINFER = "FLASHINFER"
    FLEX_ATTENTION = "FLEX_ATTENTION"
    XFORMERS = "XFORMERS"


class Timestamps(StrEnum):
    """Whether the model is asked for timestamps."""

    AUTO = "auto"
    NONE = "none"
    SEGMENTS = "segments"


class ServiceType(StrEnum):
    """How the Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class AccessMode(StrEnum):
    """Who may mount a volume at a time."""

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
