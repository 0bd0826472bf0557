"""What a spec resolves to before any pod runs: engine, image, revision. `auto` is left to the server."""

from __future__ import annotations

from whisper_operator.gpus.products import LOWEST
from whisper_operator.manifests.documents import from_registry
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Endpoint
from whisper_operator.resource.status import Resolved
from whisper_operator.settings import Settings
from whisper_runtime.capability import auto_on_gpu
from whisper_runtime.choices import EngineName, KvCacheDType

AUTO = "auto"
NONE = "none"


def uses_gpu(endpoint: Endpoint) -> bool:
    """Whether each pod gets a GPU."""
    return endpoint.spec.gpu.class_ is not GpuClass.NONE


def engine_of(endpoint: Endpoint) -> EngineName:
    """The engine that the spec or the GPU class decides; AUTO: the server decides by the GPU that it finds.

    This is all that a class says to the server: dtype, attention backend and token budget depend on the GPU, which the
    server sees, and the server's choice is the measured one (`docs/vllm.md`).
    """
    engine = endpoint.spec.engine.type
    if engine is not EngineName.AUTO or endpoint.spec.gpu.class_ is GpuClass.AUTO:
        return engine
    if not uses_gpu(endpoint):
        return EngineName.CTRANSLATE2
    lowest = LOWEST[endpoint.spec.gpu.class_]
    spec = endpoint.spec.engine
    asks_of_vllm = (spec.kv_cache_dtype is KvCacheDType.FP32, spec.attention_backend, spec.max_batched_tokens)
    return auto_on_gpu(lowest, asks_of_vllm=any(asks_of_vllm))


def resolve(endpoint: Endpoint, settings: Settings) -> Resolved:
    """`status.resolved`. auto: the server decides; none: it does not apply."""
    spec = endpoint.spec
    kv_cache_dtype = str(spec.engine.kv_cache_dtype or AUTO)
    return Resolved(
        engine=str(engine_of(endpoint)),
        gpu_class=str(spec.gpu.class_),
        dtype=str(spec.engine.dtype),
        kv_cache_dtype=kv_cache_dtype if uses_gpu(endpoint) else NONE,
        image=image_of(endpoint, settings),
        model_revision=spec.model.revision if spec.model.is_hub_id else NONE,
    )


def image_of(endpoint: Endpoint, settings: Settings) -> str:
    """The server's image: the spec's, or the default image for CPUs or GPUs."""
    default = settings.server_image_gpu if uses_gpu(endpoint) else settings.server_image_cpu
    return from_registry(endpoint.spec.pod.image or default, settings.defaults.image_registry)
