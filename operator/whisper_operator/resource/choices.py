"""Enums of the spec, and the codes of Whisper's languages. Data only."""

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
    """Whether the model writes timestamps."""

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


# fmt: off
LANGUAGES: tuple[str, ...] = (
    "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es",
    "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw", "he", "hi", "hr", "ht", "hu", "hy", "id", "is", "it", "ja",
    "jw", "ka", "kk", "km", "kn", "ko", "la", "lb", "ln", "lo", "lt", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt",
    "my", "ne", "nl", "nn", "no", "oc", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "sn", "so", "sq",
    "sr", "su", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "uk", "ur", "uz", "vi", "yi", "yo", "yue", "zh",
)
"""Codes of Whisper's languages, sorted."""
