"""Which engine ENGINE means on this machine: `auto` is decided by what is installed and by the GPU that is found.

With vLLM installed, vLLM says what GPU there is; without it, NVIDIA's management library does, which uses none of the GPU's memory.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from importlib.util import find_spec

from whisper_runtime.capability import TORCH, Capability, auto_on_gpu
from whisper_runtime.choices import EngineName, KvCacheDType
from whisper_server.settings import Settings


async def chosen_engine(settings: Settings) -> EngineName:
    """CTRANSLATE2, VLLM or TORCH. Raises StartError where vLLM's folders cannot be made."""
    from whisper_server.engines.vllm.device import find_gpu, is_installed
    from whisper_server.engines.vllm.engine_args import set_import_environment

    if settings.engine in {EngineName.CTRANSLATE2, EngineName.TORCH}:
        return settings.engine
    if is_installed():
        set_import_environment(settings.converted_models_dir)
    if settings.engine is EngineName.VLLM:
        return settings.engine
    if is_installed():
        gpu = await asyncio.to_thread(find_gpu)
        return (
            EngineName.CTRANSLATE2 if gpu is None else auto_on_gpu(gpu.capability, asks_of_vllm=asks_of_vllm(settings))
        )
    capability = await asyncio.to_thread(gpu_capability) if find_spec("torch") else None
    return EngineName.TORCH if capability is not None and capability >= TORCH else EngineName.CTRANSLATE2


def gpu_capability() -> Capability | None:
    """Of the GPU that this process may use; None without a GPU, a driver or `nvidia-ml-py`."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        if visible.isdecimal():
            device = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        else:  # empty and -1 mean no device, which has no such name
            device = pynvml.nvmlDeviceGetHandleByUUID(visible)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
        return major, minor
    return None


def asks_of_vllm(settings: Settings) -> bool:
    """Whether something is set that ENGINE=torch has no use for."""
    return bool(
        settings.vllm_kv_cache_dtype is KvCacheDType.FP32
        or settings.vllm_attention_backend
        or settings.vllm_max_num_batched_tokens
    )
