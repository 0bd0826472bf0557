"""What a GPU engine computes in on a device. Pure, so that tests need no GPU.

Refuses settings that the device cannot fulfil, with the variable and what to set instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_runtime import capability
from whisper_runtime.choices import DType, EngineName
from whisper_server.errors import StartError

_OLDEST_CARDS = {EngineName.VLLM: "T4", EngineName.TORCH: "V100"}


@dataclass(frozen=True)
class Gpu:
    """Properties of a CUDA device."""

    name: str
    capability: capability.Capability
    memory_bytes: int


def capability_gap(gpu: Gpu, lowest: capability.Capability, cards: str) -> str:
    """The end of a refusal: the compute capability that is needed, the first `cards` that have it, and that of the GPU."""
    needed, found = (f"{major}.{minor}" for major, minor in (lowest, gpu.capability))
    return f"compute capability {needed} ({cards}) or newer, {gpu.name} has {found}"


def require_capability(gpu: Gpu, engine: EngineName) -> None:
    """Raises StartError for a GPU that is too old for the engine."""
    lowest = capability.of_engine(engine).lowest
    if gpu.capability < lowest:
        raise StartError(
            f"ENGINE: {engine} needs a GPU of {capability_gap(gpu, lowest, _OLDEST_CARDS[engine])}; "
            "set ENGINE=ctranslate2 to compute on the CPU, or use another GPU"
        )


def dtype_on(gpu: Gpu | None, engine: EngineName, requested: DType) -> str:
    """`half`, `bfloat16` or `float32`; on a CPU (no `gpu`), where tests run the engine, float32. Raises StartError."""
    if gpu is None:
        if requested not in (DType.AUTO, DType.FLOAT32):
            raise StartError(f"DTYPE: {requested} is not for ENGINE={engine} on a CPU; set it to auto or float32")
        return "float32"
    knows_bfloat16 = gpu.capability >= capability.BFLOAT16
    if requested is DType.AUTO:
        return "bfloat16" if knows_bfloat16 else "half"
    if requested is DType.INT8:
        raise StartError(f"DTYPE: int8 is for ENGINE=ctranslate2; set it to auto, half or bfloat16 for {engine}")
    if requested is DType.BFLOAT16 and not knows_bfloat16:
        gap = capability_gap(gpu, capability.BFLOAT16, "A100")
        raise StartError(f"DTYPE: bfloat16 needs {gap}; set it to auto or half")
    return str(requested)


def require_fp8(gpu: Gpu | None, engine: EngineName, variable: str, *, instead: str = "auto") -> None:
    """Raises StartError for a device that does not compute in FP8, which `variable` asks for; `instead`: what to set it to."""
    if gpu is None:
        raise StartError(f"{variable}: fp8 is not for ENGINE={engine} on a CPU; set it to {instead}")
    if gpu.capability < capability.FP8:
        gap = capability_gap(gpu, capability.FP8, "L4, L40S")
        raise StartError(f"{variable}: fp8 needs {gap}; set it to {instead}")
