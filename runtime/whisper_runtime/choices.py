"""Enumerations that are settings of the server and fields of the operator's spec, and accepted synonyms. Data only."""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    """The engine that runs the model."""

    AUTO = "auto"
    CTRANSLATE2 = "ctranslate2"
    VLLM = "vllm"
    TORCH = "torch"


class DType(StrEnum):
    """The number type that the model computes in."""

    AUTO = "auto"
    HALF = "half"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    INT8 = "int8"


class KvCacheDType(StrEnum):
    """The number type of vLLM's attention cache."""

    AUTO = "auto"
    FP16 = "fp16"
    FP8 = "fp8"
    FP32 = "fp32"


class LinearDType(StrEnum):
    """The number type of the matrix products of the torch engine's encoder."""

    AUTO = "auto"
    FP8 = "fp8"


class AttentionBackend(StrEnum):
    """vLLM's attention backends. vLLM has no XFORMERS any more; it selects the backend that suits the GPU."""

    FLASH_ATTN = "FLASH_ATTN"
    TRITON_ATTN = "TRITON_ATTN"
    FLASHINFER = "FLASHINFER"
    FLEX_ATTENTION = "FLEX_ATTENTION"
    XFORMERS = "XFORMERS"


class Timestamps(StrEnum):
    """Whether the model decodes timestamps: if the format needs them, never, or always."""

    AUTO = "auto"
    NONE = "none"
    SEGMENTS = "segments"


class Subtitles(StrEnum):
    """How srt and vtt are cut where a request does not say."""

    SEGMENTS = "segments"
    READABLE = "readable"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The format of log lines."""

    JSON = "json"
    TEXT = "text"


DTYPE_SYNONYMS = {"float16": "half", "fp16": "half", "bf16": "bfloat16", "fp32": "float32"}
KV_CACHE_SYNONYMS = {
    "float16": "fp16",
    "float32": "fp32",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "e4m3": "fp8",
    "e5m2": "fp8",
}
