import dataclasses

import pytest

from whisper_runtime.choices import AttentionBackend, DType, KvCacheDType
from whisper_server.engines.gpu.model_facts import ModelShape
from whisper_server.engines.gpu.number_formats import Gpu
from whisper_server.engines.vllm.engine_config import RequestedConfig, cpu_config, cuda_graph_sizes, gpu_config
from whisper_server.errors import StartError

GIB = 1024**3
LARGE_V3 = ModelShape(1280, 32, 32, 5120, 51866, 448)
TURBO = ModelShape(1280, 32, 4, 5120, 51866, 448)
DEFAULTS = RequestedConfig(
    dtype=DType.AUTO,
    kv_cache_dtype=KvCacheDType.FP16,
    attention_backend=None,
    max_num_batched_tokens=0,
    memory_utilization=0.9,
)

T4 = Gpu("Tesla T4", (7, 5), 15 * GIB)
V100 = Gpu("Tesla V100-SXM2-32GB", (7, 0), 32 * GIB)
A10 = Gpu("NVIDIA A10", (8, 6), 22 * GIB)
A100_40 = Gpu("NVIDIA A100-SXM4-40GB", (8, 0), int(39.4 * GIB))
A100_80 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), int(79.3 * GIB))
L4 = Gpu("NVIDIA L4", (8, 9), 22 * GIB)
L40S = Gpu("NVIDIA L40S", (8, 9), int(44.4 * GIB))
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), int(79.1 * GIB))
H200 = Gpu("NVIDIA H200", (9, 0), int(139.8 * GIB))
B200 = Gpu("NVIDIA B200", (10, 0), int(178 * GIB))


@pytest.mark.parametrize(
    ("gpu", "dtype", "backend", "n_windows", "n_sequences"),
    [
        (T4, "half", "TRITON_ATTN", 2, (30, 256)),
        (A10, "bfloat16", "FLASH_ATTN", 2, (51, 256)),
        (A100_40, "bfloat16", "FLASH_ATTN", 4, (103, 256)),
        (A100_80, "bfloat16", "FLASH_ATTN", 4, (224, 256)),
        (L4, "bfloat16", "FLASH_ATTN", 2, (51, 256)),
        (L40S, "bfloat16", "FLASH_ATTN", 2, (119, 256)),
        (H100, "bfloat16", "FLASH_ATTN", 4, (224, 256)),
        (H200, "bfloat16", "FLASH_ATTN", 4, (256, 256)),
        (B200, "bfloat16", "FLASH_ATTN", 4, (256, 256)),
    ],
    ids=lambda value: value.name if isinstance(value, Gpu) else None,
)
def test_gpu_gets_its_config(gpu: Gpu, dtype: str, backend: str, n_windows: int, n_sequences: tuple[int, int]) -> None:
    large_v3, turbo = n_sequences
    config = gpu_config(gpu, LARGE_V3, DEFAULTS)
    assert (config.dtype, config.kv_cache_dtype, config.attention_backend) == (dtype, "auto", backend)
    assert config.max_num_batched_tokens // 1500 == n_windows
    assert config.max_num_seqs == pytest.approx(large_v3, abs=2)
    assert gpu_config(gpu, TURBO, DEFAULTS).max_num_seqs == pytest.approx(turbo, abs=2)
    assert config.cuda_graph_sizes[-1] == config.max_num_seqs
    assert not config.warnings


def refusal(gpu: Gpu, **changed: object) -> str:
    with pytest.raises(StartError) as caught:
        gpu_config(gpu, LARGE_V3, dataclasses.replace(DEFAULTS, **changed))  # type: ignore[arg-type]
    return str(caught.value)


def test_v100_is_refused_with_the_reason() -> None:
    text = refusal(V100)
    assert text.startswith("ENGINE: vllm needs a GPU of compute capability 7.5")
    assert "V100" in text
    assert "ENGINE=ctranslate2" in text


@pytest.mark.parametrize(
    ("gpu", "changed", "variable", "advice"),
    [
        (T4, {"dtype": DType.BFLOAT16}, "DTYPE", "set it to auto or half"),
        (H100, {"dtype": DType.INT8}, "DTYPE", "auto, half or bfloat16"),
        (A100_80, {"kv_cache_dtype": KvCacheDType.FP8}, "VLLM_KV_CACHE_DTYPE", "fp16 or auto"),
        (T4, {"kv_cache_dtype": KvCacheDType.FP8}, "VLLM_KV_CACHE_DTYPE", "fp16 or auto"),
        (H100, {"kv_cache_dtype": KvCacheDType.FP32}, "VLLM_KV_CACHE_DTYPE", "fp16 or auto"),
        (
            H100,
            {"kv_cache_dtype": KvCacheDType.FP8, "dtype": DType.FLOAT32},
            "VLLM_KV_CACHE_DTYPE",
            "set it to auto",
        ),
        (T4, {"attention_backend": AttentionBackend.FLASH_ATTN}, "VLLM_ATTENTION_BACKEND", "TRITON_ATTN"),
        (H100, {"attention_backend": AttentionBackend.FLASHINFER}, "VLLM_ATTENTION_BACKEND", "FLASH_ATTN"),
        (H100, {"attention_backend": AttentionBackend.FLEX_ATTENTION}, "VLLM_ATTENTION_BACKEND", "FLASH_ATTN"),
        (
            L4,
            {"attention_backend": AttentionBackend.FLASH_ATTN, "kv_cache_dtype": KvCacheDType.FP8},
            "VLLM_ATTENTION_BACKEND",
            "TRITON_ATTN",
        ),
        (H100, {"max_num_batched_tokens": 1499}, "VLLM_MAX_NUM_BATCHED_TOKENS", "set it to 0"),
        (T4, {"memory_utilization": 0.1}, "MODEL_ID", "VLLM_GPU_MEMORY_UTILIZATION"),
    ],
)
def test_setting_that_the_gpu_cannot_fulfil_is_refused(
    gpu: Gpu, changed: dict[str, object], variable: str, advice: str
) -> None:
    text = refusal(gpu, **changed)
    assert text.startswith(f"{variable}: ")
    assert advice in text


def test_fp8_cache_doubles_the_sequences() -> None:
    requested = dataclasses.replace(DEFAULTS, kv_cache_dtype=KvCacheDType.FP8)
    hopper, ada = gpu_config(H100, LARGE_V3, requested), gpu_config(L4, LARGE_V3, requested)
    assert (hopper.kv_cache_dtype, hopper.attention_backend) == ("fp8", "FLASH_ATTN")
    assert (ada.kv_cache_dtype, ada.attention_backend) == ("fp8", "TRITON_ATTN")
    assert ada.max_num_seqs == pytest.approx(2 * gpu_config(L4, LARGE_V3, DEFAULTS).max_num_seqs, abs=2)


def test_xformers_is_replaced_with_a_warning() -> None:
    requested = dataclasses.replace(DEFAULTS, attention_backend=AttentionBackend.XFORMERS)
    for gpu, backend in ((T4, "TRITON_ATTN"), (H100, "FLASH_ATTN")):
        config = gpu_config(gpu, LARGE_V3, requested)
        assert config.attention_backend == backend
        assert "XFORMERS is gone" in config.warnings[0]


def test_float32_uses_a_backend_that_computes_in_it() -> None:
    requested = dataclasses.replace(DEFAULTS, dtype=DType.FLOAT32, kv_cache_dtype=KvCacheDType.FP32)
    config = gpu_config(H200, TURBO, requested)
    assert (config.dtype, config.kv_cache_dtype, config.attention_backend) == ("float32", "auto", "TRITON_ATTN")


def test_given_token_budget_is_kept() -> None:
    config = gpu_config(T4, TURBO, dataclasses.replace(DEFAULTS, max_num_batched_tokens=3000))
    assert config.max_num_batched_tokens == 3000


@pytest.mark.parametrize("n_sequences", [1, 2, 5, 8, 30, 64, 256])
def test_graph_sizes_ascend_to_all_sequences(n_sequences: int) -> None:
    sizes = cuda_graph_sizes(n_sequences)
    assert sizes[-1] == n_sequences
    assert list(sizes) == sorted(set(sizes))


def test_cpu_computes_in_float32_only() -> None:
    assert cpu_config(DEFAULTS).dtype == "float32"
    for changed in ({"dtype": DType.BFLOAT16}, {"kv_cache_dtype": KvCacheDType.FP8}):
        with pytest.raises(StartError, match=r"^(DTYPE|VLLM_KV_CACHE_DTYPE): .* is not for ENGINE=vllm on a CPU"):
            cpu_config(dataclasses.replace(DEFAULTS, **changed))
