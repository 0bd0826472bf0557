"""What the server needs of a GPU, by its settings: the one table from which the server refuses and the operator places.

Data and comparisons only. A compute capability is a pair such as (7, 5), which NVIDIA's table gives for each product.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_runtime.choices import AttentionBackend, DType, EngineName, KvCacheDType

Capability = tuple[int, int]

VLLM = (7, 5)
"""vLLM's oldest GPU: T4. V100 (7.0) is too old."""
TORCH = (7, 0)
BFLOAT16 = (8, 0)
FP8 = (8, 9)
"""Attention caches and matrix products."""
ROW_ATTENTION = (8, 0)
"""The torch engine's own kernel."""
FLASH_ATTENTION = (8, 0)
FLASH_ATTENTION_FP8_MAJOR = 9
"""FlashAttention reads an fp8 cache on Hopper only."""


@dataclass(frozen=True)
class CapabilityRange:
    """Compute capabilities from `lowest` on; `only_major`: with this first number only."""

    lowest: Capability = (0, 0)
    only_major: int | None = None

    def holds(self, capability: Capability) -> bool:
        return capability >= self.lowest and self.only_major in (None, capability[0])


TORCH_IS_FASTER_MAJOR = 9
"""Measured on Hopper only: bench/RESULTS.md."""


def auto_on_gpu(capability: Capability, *, asks_of_vllm: bool) -> EngineName:
    """What ENGINE=auto means on a GPU where both GPU engines are installed.

    `asks_of_vllm`: something is set that only vLLM has, such as the number type of its attention cache.
    """
    return EngineName.TORCH if capability[0] == TORCH_IS_FASTER_MAJOR and not asks_of_vllm else EngineName.VLLM


def of_engine(engine: EngineName) -> CapabilityRange:
    """What an engine needs with any settings. ENGINE=auto takes vLLM or torch on a GPU; CTranslate2 computes on the CPU."""
    lowest = {EngineName.CTRANSLATE2: (0, 0), EngineName.TORCH: TORCH}
    return CapabilityRange(lowest.get(engine, VLLM))


def needed(
    engine: EngineName, dtype: DType, kv_cache_dtype: KvCacheDType | None, backend: AttentionBackend | None
) -> CapabilityRange:
    """The GPUs on which the server starts with these settings."""
    lowest = of_engine(engine).lowest
    if engine is EngineName.CTRANSLATE2:
        return CapabilityRange(lowest)
    if dtype is DType.BFLOAT16:
        lowest = max(lowest, BFLOAT16)
    has_fp8_cache = kv_cache_dtype is KvCacheDType.FP8
    if has_fp8_cache:
        lowest = max(lowest, FP8)
    if engine is EngineName.TORCH:
        return CapabilityRange(lowest)  # the other settings are vLLM's
    if backend is AttentionBackend.FLASH_ATTN:
        lowest = max(lowest, FLASH_ATTENTION)
        if has_fp8_cache:
            return CapabilityRange(max(lowest, (FLASH_ATTENTION_FP8_MAJOR, 0)), FLASH_ATTENTION_FP8_MAJOR)
    return CapabilityRange(lowest)
