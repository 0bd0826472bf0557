"""What a GPU engine computes in on a device. Pure, so that tests need no GPU.

Refuses settings that the device cannot fulfil, with the variable and what to set instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_runtime import capability
from whisper_runtime.choices import DType, EngineName
from whisper_server.errors import StartError

_OLDEST = {EngineName.VLLM: "7.5 (T4)", EngineName.TORCH: "7.0 (V100)"}
"""As `capability.of_engine` has it."""


@dataclass(frozen=True)
class Gpu:
    """Properties of a CUDA device."""

    name: str
    capability: capability.Capability
    memory_bytes: int

    @property
    def spelled(self) -> str:
        """The compute capability as NVIDIA writes it."""
        return f"{self.capability[0]}.{self.capability[1]}"


def require_capability(gpu: Gpu, engine: EngineName) -> None:
    """Raises StartError for a GPU that is too old for the engine."""
    if gpu.capability < capability.of_engine(engine).lowest:
        raise StartError(
            f"ENGINE: {engine} needs a GPU of compute capability {_OLDEST[engine]} or newer, {gpu.name} has {gpu.spelled}; "
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
        raise StartError(
            f"DTYPE: bfloat16 needs compute capability 8.0 (A100) or newer, {gpu.name} has {gpu.spelled}; set it to auto or half"
        )
    return str(requested)


def require_fp8(gpu: Gpu | None, engine: EngineName, variable: str) -> None:
    """Raises StartError for a device that does not compute in FP8, which `variable` asks for."""
    if gpu is None:
        raise StartError(f"{variable}: fp8 is not for ENGINE={engine} on a CPU; set it to auto")
    if gpu.capability < capability.FP8:
        raise StartError(
            f"{variable}: fp8 needs compute capability 8.9 (L4, L40S) or newer, {gpu.name} has {gpu.spelled}; set it to auto"
        )
