"""What is known of a class of GPUs: the most memory that one has, and what the server is told. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from whisper_operator.resource.choices import GpuClass

MAX_MEMORY_MIB: Mapping[GpuClass, int] = {
    GpuClass.T4: 15_360,
    GpuClass.AMPERE: 81_920,  # A100 80 GB
    GpuClass.ADA: 49_140,  # RTX 6000 Ada
    GpuClass.HOPPER: 147_456,  # GH200
    GpuClass.BLACKWELL: 294_912,  # B300
}
"""Memory of the largest GPU of a class, as its driver reports it."""

_NEWER = {"ENGINE": "vllm", "DTYPE": "bfloat16", "VLLM_KV_CACHE_DTYPE": "fp16"}
CLASS_ENVIRONMENT: Mapping[GpuClass, Mapping[str, str]] = {
    GpuClass.AUTO: {},
    GpuClass.NONE: {"ENGINE": "ctranslate2"},
    GpuClass.T4: {
        "ENGINE": "vllm",
        "DTYPE": "half",  # bfloat16 starts at 8.0
        "VLLM_KV_CACHE_DTYPE": "fp16",
        "VLLM_ATTENTION_BACKEND": "TRITON_ATTN",  # FlashAttention 2 starts at 8.0
        "VLLM_USE_FLASHINFER": "0",
        "VLLM_MAX_NUM_BATCHED_TOKENS": "4096",  # two windows a step; more would hold up what is being decoded
    },
    GpuClass.AMPERE: _NEWER,
    GpuClass.ADA: {**_NEWER, "VLLM_MAX_NUM_BATCHED_TOKENS": "16384"},
    GpuClass.HOPPER: {**_NEWER, "VLLM_MAX_NUM_BATCHED_TOKENS": "32768"},
    GpuClass.BLACKWELL: {**_NEWER, "VLLM_MAX_NUM_BATCHED_TOKENS": "32768"},
}
"""What the server is told unless `engine` says otherwise. What is missing, it decides by the GPU that it finds."""
