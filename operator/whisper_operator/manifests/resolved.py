"""What a spec comes to before any pod runs: engine, numbers, image. `auto` is left to the server."""

from __future__ import annotations

from whisper_operator.gpus import CLASS_ENVIRONMENT
from whisper_operator.manifests.documents import from_registry
from whisper_operator.resource.choices import DType, EngineType, GpuClass
from whisper_operator.resource.spec import Endpoint
from whisper_operator.resource.status import Resolved
from whisper_operator.settings import Settings

AUTO = "auto"
NONE = "none"


def uses_gpu(endpoint: Endpoint) -> bool:
    """Whether each pod gets a GPU."""
    return endpoint.spec.gpu.class_ is not GpuClass.NONE


def resolve(endpoint: Endpoint, settings: Settings) -> Resolved:
    """`status.resolved`. auto: the server decides; none: there is no such thing."""
    spec = endpoint.spec
    told = CLASS_ENVIRONMENT[spec.gpu.class_]
    kv_cache_dtype = str(spec.engine.kv_cache_dtype or told.get("VLLM_KV_CACHE_DTYPE", AUTO))
    return Resolved(
        engine=told.get("ENGINE", AUTO) if spec.engine.type is EngineType.AUTO else str(spec.engine.type),
        gpu_class=str(spec.gpu.class_),
        dtype=told.get("DTYPE", AUTO) if spec.engine.dtype is DType.AUTO else str(spec.engine.dtype),
        kv_cache_dtype=kv_cache_dtype if uses_gpu(endpoint) else NONE,
        image=image_of(endpoint, settings),
        model_revision=spec.model.revision if _is_downloaded(spec.model.id) else NONE,
    )


def image_of(endpoint: Endpoint, settings: Settings) -> str:
    """The server's image: the spec's, or the default one for CPUs or GPUs."""
    default = settings.server_image_gpu if uses_gpu(endpoint) else settings.server_image_cpu
    return from_registry(endpoint.spec.pod.image or default, settings.defaults.image_registry)


def _is_downloaded(model_id: str) -> bool:
    """Neither the demo model nor a folder: a Hugging Face id, which has revisions."""
    return model_id != "demo" and not model_id.startswith(("/", "."))
