"""What the GPU engines compute in, and what they refuse: the operator places pods by the same table (`whisper_runtime.capability`)."""

import pytest

from whisper_runtime import capability
from whisper_runtime.choices import DType, EngineName, KvCacheDType
from whisper_server.engines.gpu.number_formats import Gpu, dtype_on, require_capability, require_fp8
from whisper_server.errors import StartError

GIB = 1024**3
P100 = Gpu("Tesla P100-PCIE-16GB", (6, 0), 16 * GIB)
V100 = Gpu("Tesla V100-SXM2-32GB", (7, 0), 32 * GIB)
T4 = Gpu("Tesla T4", (7, 5), 15 * GIB)
A100 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 79 * GIB)
L4 = Gpu("NVIDIA L4", (8, 9), 22 * GIB)
H200 = Gpu("NVIDIA H200", (9, 0), 140 * GIB)
GPUS = (P100, V100, T4, A100, L4, H200)
ENGINES = (EngineName.VLLM, EngineName.TORCH)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("gpu", "dtype"), [(V100, "half"), (T4, "half"), (A100, "bfloat16"), (H200, "bfloat16")])
def test_auto_is_what_the_gpu_multiplies_fast(engine: EngineName, gpu: Gpu, dtype: str) -> None:
    assert dtype_on(gpu, engine, DType.AUTO) == dtype


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gpu", [*GPUS, None])
@pytest.mark.parametrize("requested", list(DType))
def test_each_dtype_is_computed_in_or_refused_by_name(engine: EngineName, gpu: Gpu | None, requested: DType) -> None:
    try:
        dtype = dtype_on(gpu, engine, requested)
    except StartError as error:
        assert str(error).startswith(f"DTYPE: {requested} ")  # noqa: PT017 - each dtype is one or the other
        assert requested is not DType.AUTO
    else:
        assert dtype in {"half", "bfloat16", "float32"}


@pytest.mark.parametrize("engine", ENGINES)
def test_int8_is_for_cpus(engine: EngineName) -> None:
    with pytest.raises(StartError, match="DTYPE: int8 is for ENGINE=ctranslate2"):
        dtype_on(H200, engine, DType.INT8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("dtype", [DType.AUTO, DType.HALF, DType.BFLOAT16])
@pytest.mark.parametrize("cache", [KvCacheDType.FP16, KvCacheDType.FP8])
def test_refuses_what_the_operator_places_nowhere(
    engine: EngineName, gpu: Gpu, dtype: DType, cache: KvCacheDType
) -> None:
    text = refusal(gpu, engine, dtype, cache)
    assert (text is None) is capability.needed(engine, dtype, cache, None).holds(gpu.capability)
    assert text is None or f"{gpu.name} has {gpu.capability[0]}.{gpu.capability[1]}" in text


def refusal(gpu: Gpu, engine: EngineName, dtype: DType, cache: KvCacheDType) -> str | None:
    try:
        require_capability(gpu, engine)
        dtype_on(gpu, engine, dtype)
        if cache is KvCacheDType.FP8:
            require_fp8(gpu, engine, "VLLM_KV_CACHE_DTYPE")
    except StartError as error:
        return str(error)
    return None


@pytest.mark.parametrize("engine", ENGINES)
def test_names_the_oldest_gpu_as_the_table_does(engine: EngineName) -> None:
    lowest = capability.of_engine(engine).lowest
    with pytest.raises(
        StartError, match=f"^ENGINE: {engine} needs a GPU of compute capability {lowest[0]}.{lowest[1]} "
    ):
        require_capability(P100, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_fp8_is_not_for_cpus(engine: EngineName) -> None:
    with pytest.raises(StartError, match=r"^TORCH_LINEAR_DTYPE: fp8 is not for"):
        require_fp8(None, engine, "TORCH_LINEAR_DTYPE")
