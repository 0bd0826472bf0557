"""The settings that are one of a few words: an enum each, and the other spellings that are accepted.

Data only. `settings` says which variable takes which of them.
"""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    """Which engine runs the model."""

    AUTO = "auto"
    CTRANSLATE2 = "ctranslate2"
    VLLM = "vllm"
    TORCH = "torch"


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
    """vLLM's attention backends; XFORMERS is gone from vLLM and stands for the one that serves the GPU."""

    FLASH_ATTN = "FLASH_ATTN"
    TRITON_ATTN = "TRITON_ATTN"
    FLASHINFER = "FLASHINFER"
    FLEX_ATTENTION = "FLEX_ATTENTION"
    XFORMERS = "XFORMERS"


class Timestamps(StrEnum):
    """Whether the model is asked for timestamps: where the format needs them, never, or always."""

    AUTO = "auto"
    NONE = "none"
    SEGMENTS = "segments"


class LogLevel(StrEnum):
    """The least important lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

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
