"""The nodes with the GPUs that a spec asks for, as nodeSelectorTerms: a node must match one of them.

GPU feature discovery (GFD) labels nodes with what the driver reports. On nodes without its capability the terms match labels that
name a product (`product_labels`). Where GFD reports a capability we never match product names, because sharing and MIG change
them. Node autoscalers use the same terms to choose new nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whisper_operator.errors import SpecError
from whisper_operator.gpus.expressions import (
    ACCELERATOR,
    ARCH,
    AWS,
    GKE,
    GPU,
    IMAGE_PLATFORM,
    INSTANCE_TYPE,
    MAJOR,
    MEMORY,
    MINOR,
    PRODUCT,
    Expression,
    absent,
    exists,
    greater,
    is_in,
    not_in,
)
from whisper_operator.gpus.product_labels import (
    by_product,
    is_mig,
    not_sold_as,
    whole_by_instance_type,
    whole_by_name,
    whole_on_gke,
)
from whisper_operator.gpus.product_table import PRODUCTS
from whisper_operator.gpus.products import LOWEST, MAX_MEMORY_GIB, least_reported_mib
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Engine, Gpu
from whisper_runtime.capability import CapabilityRange, needed, of_engine

TAINT = "nvidia.com/gpu"
"""Key of the taint of GPU nodes. Its value varies: GKE writes `present`, others `true`."""

ANY_ENGINE = Engine()


def node_selector_terms(gpu: Gpu, engine: Engine = ANY_ENGINE) -> list[dict[str, Any]]:
    """The terms; none: any node with the resource matches. Raises SpecError if no GPU can match."""
    if gpu.class_ is GpuClass.NONE:
        return []
    check(gpu, engine)
    wanted = needed_capability(engine)
    if gpu.class_ is GpuClass.AUTO and gpu.min_memory_gib is None and wanted == of_engine(engine.type):
        # Nothing is asked for but what the engine needs: also nodes whose GPU no label names.
        families = _not_too_old(gpu, wanted)
    else:
        families = [_by_gfd(gpu, capability) for capability in _capabilities(gpu.class_, wanted)]
        families += [[*found, absent(MAJOR)] for found in by_product(gpu, wanted) if found]
    return [{"matchExpressions": expressions} for expressions in families if expressions]


def check(gpu: Gpu, engine: Engine) -> None:
    """Raises SpecError if no GPU can match."""
    _check_memory(gpu)
    _check_capability(gpu, needed_capability(engine))


def needed_capability(engine: Engine) -> CapabilityRange:
    """What the server needs of a GPU with these settings."""
    return needed(engine.type, engine.dtype, engine.kv_cache_dtype, engine.attention_backend)


def _not_too_old(gpu: Gpu, wanted: CapabilityRange) -> list[list[Expression]]:
    """GFD's labels show that the GPU is new enough, or there are none and no cloud's label shows that it is too old."""
    whole = [] if gpu.shared else [*_whole_by_gfd(gpu), *whole_by_name(), *whole_on_gke(), *whole_by_instance_type()]
    if wanted == CapabilityRange():
        return [whole]
    return [
        *([*capability, *whole] for capability in _at_least(wanted)),
        [absent(MAJOR), *not_sold_as([each for each in PRODUCTS if not wanted.holds(each.capability)]), *whole],
    ]


def _check_capability(gpu: Gpu, wanted: CapabilityRange) -> None:
    lowest = LOWEST.get(gpu.class_)
    if lowest is not None and not wanted.holds(lowest):
        usable = ", ".join(str(each) for each, capability in LOWEST.items() if wanted.holds(capability))
        raise SpecError(
            "gpu.class",
            f"the server does not start on GPUs of class {gpu.class_} with this engine.dtype, engine.kvCacheDtype and"
            f" engine.attentionBackend. Write {usable} or auto, or leave out one of these fields",
        )


def platform_of_image(selector: Mapping[str, str]) -> dict[str, str]:
    """Labels that a node needs for the image; `selector` is the pod's nodeSelector, which may name another architecture."""
    return {key: value for key, value in IMAGE_PLATFORM.items() if not (key == ARCH and ARCH in selector)}


def without_gpu() -> list[Expression]:
    """Matches nodes without a label that shows a GPU."""
    gpus = [absent(key) for key in (f"{GPU}.present", f"{GPU}.count", PRODUCT, GKE, ACCELERATOR)]
    aws = [absent(f"{domain}/instance-gpu-name") for domain in AWS]
    return [*gpus, *aws, not_in(INSTANCE_TYPE, *(name for product in PRODUCTS for name in product.instance_types))]


def _check_memory(gpu: Gpu) -> None:
    largest = MAX_MEMORY_GIB.get(gpu.class_)
    if largest is not None and gpu.min_memory_gib is not None and gpu.min_memory_gib > largest:
        raise SpecError(
            "gpu.minMemoryGiB",
            f"no GPU of class {gpu.class_} is sold with {gpu.min_memory_gib} GiB: the largest has {largest}."
            f" Write {largest} or less, or another gpu.class",
        )


def _by_gfd(gpu: Gpu, capability: Sequence[Expression]) -> list[Expression]:
    expressions = list(capability)
    if gpu.min_memory_gib is not None:
        expressions.append(greater(memory_key(gpu), least_reported_mib(gpu.min_memory_gib) - 1))
    return expressions if gpu.shared else [*expressions, *_whole_by_gfd(gpu), *whole_by_instance_type()]


def memory_key(gpu: Gpu) -> str:
    """MIG devices with their own resource name have their own labels."""
    return f"{gpu.resource_name}.memory" if is_mig(gpu) else MEMORY


def _capabilities(gpu_class: GpuClass, wanted: CapabilityRange) -> list[list[Expression]]:
    """Alternatives. A class fulfils what is wanted entirely: `_check_capability`."""
    return _at_least(wanted) if gpu_class is GpuClass.AUTO else [list(_capability(gpu_class))]


def _at_least(wanted: CapabilityRange) -> list[list[Expression]]:
    major, minor = wanted.lowest
    if wanted.only_major is not None:
        return [[is_in(MAJOR, str(wanted.only_major))]]
    if minor == 0:
        return [[greater(MAJOR, major - 1)] if major else []]
    return [[greater(MAJOR, major)], [is_in(MAJOR, str(major)), greater(MINOR, minor - 1)]]


def _capability(gpu_class: GpuClass) -> Iterator[Expression]:
    match gpu_class:
        case GpuClass.T4:
            yield is_in(MAJOR, "7")
            yield is_in(MINOR, "5")
        case GpuClass.AMPERE:
            yield is_in(MAJOR, "8")
            yield exists(MINOR)  # NotIn alone also matches nodes without the label
            yield not_in(MINOR, "9")
        case GpuClass.ADA:
            yield is_in(MAJOR, "8")
            yield is_in(MINOR, "9")
        case GpuClass.HOPPER:
            yield is_in(MAJOR, "9")
        case GpuClass.BLACKWELL:
            yield is_in(MAJOR, "10", "12")


def _whole_by_gfd(gpu: Gpu) -> Iterator[Expression]:
    """Matches GPUs that are not shared. All of these also match nodes without the label."""
    for resource in dict.fromkeys((GPU, gpu.resource_name)):
        yield not_in(f"{resource}.sharing-strategy", "time-slicing", "mps")
    if not is_mig(gpu):
        yield absent(f"{GPU}.slices.gi")
