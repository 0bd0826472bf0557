"""GPU, model and settings → the configuration of vLLM's engine: pure functions, so that tests need no GPU.

Refuses settings that a GPU cannot fulfil, with the variable and what to set instead. Names are vLLM's; docs/vllm.md
gives the reasons for the values.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_runtime import capability
from whisper_runtime.choices import AttentionBackend, DType, EngineName, KvCacheDType
from whisper_server.engines.gpu.model_facts import ModelShape
from whisper_server.engines.gpu.number_formats import Gpu, capability_gap, dtype_on, require_capability, require_fp8
from whisper_server.errors import StartError
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

MAX_SEQUENCES = 256
GIB = 1024**3
RUNTIME_BYTES = int(1.5 * GIB)
"""CUDA's context, CUDA graphs and the memory that libraries keep."""


@dataclass(frozen=True)
class RequestedConfig:
    """The settings that decide the engine's configuration."""

    dtype: DType
    kv_cache_dtype: KvCacheDType
    attention_backend: AttentionBackend | None
    max_num_batched_tokens: int
    """0: chosen by the GPU."""
    memory_utilization: float


@dataclass(frozen=True)
class EngineConfig:
    """How vLLM's engine runs."""

    dtype: str
    kv_cache_dtype: str
    attention_backend: str | None
    """None: vLLM chooses."""
    max_num_batched_tokens: int
    max_num_seqs: int
    cuda_graph_sizes: tuple[int, ...]
    """Batch sizes; empty: no CUDA graphs, everything runs eagerly."""
    memory_utilization: float
    warnings: tuple[str, ...] = ()


def gpu_config(gpu: Gpu, shape: ModelShape, requested: RequestedConfig) -> EngineConfig:
    """The configuration for a model on a GPU. Raises StartError for settings that the GPU cannot fulfil."""
    require_capability(gpu, EngineName.VLLM)
    dtype = dtype_on(gpu, EngineName.VLLM, requested.dtype)
    kv_cache_dtype = _kv_cache_dtype(gpu, dtype, requested.kv_cache_dtype)
    backend, warnings = _attention_backend(gpu, dtype, kv_cache_dtype, requested.attention_backend)
    n_tokens = _token_budget(gpu, requested.max_num_batched_tokens)
    n_sequences = _sequences(gpu, shape, requested, (dtype, kv_cache_dtype), n_tokens)
    return EngineConfig(
        dtype=dtype,
        kv_cache_dtype=kv_cache_dtype,
        attention_backend=backend,
        max_num_batched_tokens=n_tokens,
        max_num_seqs=n_sequences,
        cuda_graph_sizes=cuda_graph_sizes(n_sequences),
        memory_utilization=requested.memory_utilization,
        warnings=warnings,
    )


def cpu_config(requested: RequestedConfig) -> EngineConfig:
    """The configuration for vLLM's CPU build, which the tests use: slow, as exact as the CPU engine. Raises StartError."""
    dtype = dtype_on(None, EngineName.VLLM, requested.dtype)
    if requested.kv_cache_dtype is KvCacheDType.FP8:
        require_fp8(None, EngineName.VLLM, "VLLM_KV_CACHE_DTYPE")
    return EngineConfig(
        dtype=dtype,
        kv_cache_dtype="auto",
        attention_backend=None,
        max_num_batched_tokens=_at_least_one_window(requested.max_num_batched_tokens or 4 * N_AUDIO_POSITIONS),
        max_num_seqs=16,
        cuda_graph_sizes=(),
        memory_utilization=requested.memory_utilization,
    )


def cuda_graph_sizes(n_sequences: int) -> tuple[int, ...]:
    """Batch sizes for which a decoding step is captured; a batch is padded to the next size."""
    small = [size for size in (1, 2, 4) if size < n_sequences]
    steps = [*range(8, min(n_sequences, 64), 8), *range(64, n_sequences, 16)]
    return (*small, *steps, n_sequences)


def _kv_cache_dtype(gpu: Gpu, dtype: str, requested: KvCacheDType) -> str:
    if requested is KvCacheDType.FP8:
        require_fp8(gpu, EngineName.VLLM, "VLLM_KV_CACHE_DTYPE", instead="fp16 or auto")
        if dtype == "float32":
            raise StartError("VLLM_KV_CACHE_DTYPE: fp8 does not go with DTYPE=float32; set it to auto")
        return "fp8"
    if requested is KvCacheDType.FP32 and dtype != "float32":
        raise StartError(
            f"VLLM_KV_CACHE_DTYPE: fp32 goes with DTYPE=float32 only, and DTYPE is {dtype}; set it to fp16 or auto"
        )
    # `auto` is the model's own 16-bit type: names of single types came and went between versions of vLLM.
    return "auto"


def _attention_backend(
    gpu: Gpu, dtype: str, kv_cache_dtype: str, requested: AttentionBackend | None
) -> tuple[str, tuple[str, ...]]:
    """The backend, and warnings about the choice."""
    flash_problem = _flash_attention_problem(gpu, dtype, kv_cache_dtype)
    usable = AttentionBackend.FLASH_ATTN if flash_problem is None else AttentionBackend.TRITON_ATTN
    if requested is None:
        return str(usable), ()
    if requested is AttentionBackend.XFORMERS:
        return str(usable), (f"VLLM_ATTENTION_BACKEND: XFORMERS is gone from vLLM; {usable} is used",)
    if requested in (AttentionBackend.FLASHINFER, AttentionBackend.FLEX_ATTENTION):
        raise StartError(
            f"VLLM_ATTENTION_BACKEND: {requested} cannot compute Whisper's cross-attention; leave it empty or set {usable}"
        )
    if requested is AttentionBackend.FLASH_ATTN and flash_problem is not None:
        raise StartError(f"VLLM_ATTENTION_BACKEND: FLASH_ATTN {flash_problem}; leave it empty or set {usable}")
    return str(requested), ()


def _flash_attention_problem(gpu: Gpu, dtype: str, kv_cache_dtype: str) -> str | None:
    """Why FlashAttention cannot be used; None where it can."""
    if gpu.capability < capability.FLASH_ATTENTION:
        return f"needs {capability_gap(gpu, capability.FLASH_ATTENTION, 'A100')}"
    if dtype == "float32":
        return "does not compute in float32"
    if kv_cache_dtype == "fp8" and gpu.capability[0] != capability.FLASH_ATTENTION_FP8_MAJOR:
        return f"reads an fp8 cache on Hopper (H100, H200) only, and this is {gpu.name}"
    return None


def _token_budget(gpu: Gpu, requested: int) -> int:
    if requested:
        return _at_least_one_window(requested)
    # Windows that are encoded in one step. A few fill a GPU. With more, requests in flight wait longer, and start and end
    # together, so that the encoder has no work while they decode, and the decoder none while the next are encoded.
    max_windows_per_step = 4 if gpu.capability >= (9, 0) or gpu.capability == (8, 0) else 2
    return max_windows_per_step * N_AUDIO_POSITIONS + 1024


def _at_least_one_window(n_tokens: int) -> int:
    if n_tokens < N_AUDIO_POSITIONS:
        raise StartError(
            f"VLLM_MAX_NUM_BATCHED_TOKENS: {n_tokens} does not hold one window, which takes {N_AUDIO_POSITIONS}; "
            "set it to 0, or to a multiple of that"
        )
    return n_tokens


def _sequences(gpu: Gpu, shape: ModelShape, requested: RequestedConfig, dtypes: tuple[str, str], n_tokens: int) -> int:
    """How many windows can be decoded at once, with these number types in the model and in the KV cache."""
    dtype, kv_cache_dtype = dtypes
    n_bytes = 4 if dtype == "float32" else 2
    encoding = n_tokens // N_AUDIO_POSITIONS * shape.encoder_bytes(n_bytes)
    free_bytes = (
        gpu.memory_bytes * requested.memory_utilization - RUNTIME_BYTES - shape.n_parameters * n_bytes - encoding
    )
    bytes_per_sequence = shape.cache_bytes(1 if kv_cache_dtype == "fp8" else n_bytes)
    n_sequences = min(MAX_SEQUENCES, n_tokens, int(free_bytes // bytes_per_sequence))
    if n_sequences < 1:
        needed = RUNTIME_BYTES + shape.n_parameters * n_bytes + encoding + bytes_per_sequence
        raise StartError(
            f"MODEL_ID: the model needs {needed / GIB:.1f} GiB of the GPU's memory, and "
            f"VLLM_GPU_MEMORY_UTILIZATION={requested.memory_utilization:g} of {gpu.name}'s is "
            f"{gpu.memory_bytes * requested.memory_utilization / GIB:.1f} GiB; raise it, lower "
            "VLLM_MAX_NUM_BATCHED_TOKENS, or set a smaller model"
        )
    return n_sequences
