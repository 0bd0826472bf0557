"""The device that vLLM would compute on, found without using any of the GPU's memory."""

from __future__ import annotations

from importlib.util import find_spec

from whisper_server.engines.gpu.number_formats import Gpu
from whisper_server.errors import StartError

CPU = "cpu"


def is_installed() -> bool:
    """Whether vLLM is installed, without importing it, which takes seconds."""
    return find_spec("vllm") is not None


def find_gpu() -> Gpu | None:
    """The first CUDA device; None where there is none, or where vLLM's build cannot use it."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return None
    capability = current_platform.get_device_capability()
    if capability is None:
        return None
    return Gpu(
        name=current_platform.get_device_name(),
        capability=(capability.major, capability.minor),
        memory_bytes=current_platform.get_device_total_memory(),
    )


def require_device() -> Gpu | None:
    """The GPU, or None for vLLM's CPU build. Raises StartError where vLLM has no device."""
    if not is_installed():
        raise StartError(
            "ENGINE: vllm is not installed; install whisper-server[vllm], or set ENGINE to auto or ctranslate2"
        )
    gpu = find_gpu()
    if gpu is None:
        from vllm.platforms import current_platform

        if not current_platform.is_cpu():
            raise StartError(
                "ENGINE: vllm needs a CUDA device, and there is none here; give this container a GPU, or set ENGINE to "
                "auto or ctranslate2"
            )
    return gpu
