"""The nodes with the GPUs that a spec asks for, as nodeSelectorTerms: a node must match one of them.

GPU feature discovery (GFD) labels nodes with what the driver reports. On nodes without its labels the terms match a cloud's
labels, which name products; their memory is in `products`. We never match product names in GFD's labels, because sharing and
MIG change them. Node autoscalers use the same terms to choose new nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from whisper_operator.errors import SpecError
from whisper_operator.gpus.products import LOWEST, MAX_MEMORY_MIB, PRODUCTS, Product
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Engine, Gpu
from whisper_runtime.capability import CapabilityRange, needed, of_engine

Expression = dict[str, Any]

TAINT = "nvidia.com/gpu"
"""Key of the taint of GPU nodes. Its value varies: GKE writes `present`, others `true`."""

ANY_ENGINE = Engine()
_GPU = "nvidia.com/gpu"
_MAJOR = f"{_GPU}.compute.major"
_MINOR = f"{_GPU}.compute.minor"
_GKE = "cloud.google.com/gke-accelerator"
_GKE_SHARING = "cloud.google.com/gke-gpu-sharing-strategy"
_GKE_SLICE = "cloud.google.com/gke-gpu-partition-size"
_AWS = ("karpenter.k8s.aws", "eks.amazonaws.com")
"""Karpenter and EKS Auto Mode use the same labels, each in its own domain."""
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def node_selector_terms(gpu: Gpu, engine: Engine = ANY_ENGINE) -> list[dict[str, Any]]:
    """The terms; none: any node with the resource matches. Raises SpecError if no GPU can match."""
    if gpu.class_ is GpuClass.NONE:
        return []
    _check_memory(gpu)
    wanted = needed_capability(engine)
    _check_capability(gpu, wanted)
    if gpu.class_ is GpuClass.AUTO and gpu.min_memory_gib is None and wanted == of_engine(engine.type):
        # Nothing is asked for but what the engine needs: also nodes whose GPU no label names.
        families = _not_too_old(gpu, wanted)
    else:
        families = [_by_gfd(gpu, capability) for capability in _capabilities(gpu.class_, wanted)]
        families += [[*found, _absent(_MAJOR)] for found in _by_cloud(gpu, wanted) if found]
    return [{"matchExpressions": expressions} for expressions in families if expressions]


def needed_capability(engine: Engine) -> CapabilityRange:
    """What the server needs of a GPU with these settings."""
    return needed(engine.type, engine.dtype, engine.kv_cache_dtype, engine.attention_backend)


def _not_too_old(gpu: Gpu, wanted: CapabilityRange) -> list[list[Expression]]:
    """GFD's labels show that the GPU is new enough, or there are none and no cloud's label shows that it is too old."""
    whole = [] if gpu.shared else [*_whole_by_gfd(gpu), *_whole_on_gke(), *_whole_by_instance_type()]
    if wanted == CapabilityRange():
        return [whole]
    return [
        *([*capability, *whole] for capability in _at_least(wanted)),
        [_absent(_MAJOR), *_not_sold_as([each for each in PRODUCTS if not wanted.holds(each.capability)]), *whole],
    ]


def _not_sold_as(products: Sequence[Product]) -> Iterator[Expression]:
    for key, names in (
        (_GKE, [name for product in products for name in product.gke]),
        *((f"{domain}/instance-gpu-name", [each.aws for each in products if each.aws]) for domain in _AWS),
        (_INSTANCE_TYPE, [name for product in products for name in product.instance_types]),
    ):
        if names:
            yield _not_in(key, *dict.fromkeys(names))


def _check_capability(gpu: Gpu, wanted: CapabilityRange) -> None:
    lowest = LOWEST.get(gpu.class_)
    if lowest is not None and not wanted.holds(lowest):
        usable = ", ".join(str(each) for each, capability in LOWEST.items() if wanted.holds(capability))
        raise SpecError(
            "gpu.class",
            f"the server does not start on GPUs of class {gpu.class_} with this engine.dtype, engine.kvCacheDtype and"
            f" engine.attentionBackend. Write {usable} or auto, or leave out one of these fields",
        )


def without_gpu() -> list[Expression]:
    """Matches nodes without a label that shows a GPU."""
    gpus = [_absent(key) for key in (f"{_GPU}.present", f"{_GPU}.count", _GKE)]
    aws = [_absent(f"{domain}/instance-gpu-name") for domain in _AWS]
    return [*gpus, *aws, _not_in(_INSTANCE_TYPE, *(name for product in PRODUCTS for name in product.instance_types))]


def _check_memory(gpu: Gpu) -> None:
    largest = MAX_MEMORY_MIB.get(gpu.class_)
    if largest is not None and gpu.min_memory_gib is not None and gpu.min_memory_gib * 1024 > largest:
        raise SpecError(
            "gpu.minMemoryGiB",
            f"no GPU of class {gpu.class_} has {gpu.min_memory_gib} GiB: the largest has {largest} MiB."
            f" Write {largest // 1024} or less, or another gpu.class",
        )


def _by_gfd(gpu: Gpu, capability: Sequence[Expression]) -> list[Expression]:
    expressions = list(capability)
    if gpu.min_memory_gib is not None:
        # MIG devices with their own resource name have their own labels.
        resource = gpu.resource_name if _is_mig(gpu) else _GPU
        expressions.append(_greater(f"{resource}.memory", gpu.min_memory_gib * 1024 - 1))
    return expressions if gpu.shared else [*expressions, *_whole_by_gfd(gpu), *_whole_by_instance_type()]


def _capabilities(gpu_class: GpuClass, wanted: CapabilityRange) -> list[list[Expression]]:
    """Alternatives. A class fulfils what is wanted entirely: `_check_capability`."""
    return _at_least(wanted) if gpu_class is GpuClass.AUTO else [list(_capability(gpu_class))]


def _at_least(wanted: CapabilityRange) -> list[list[Expression]]:
    major, minor = wanted.lowest
    if wanted.only_major is not None:
        return [[_in(_MAJOR, str(wanted.only_major))]]
    if minor == 0:
        return [[_greater(_MAJOR, major - 1)] if major else []]
    return [[_greater(_MAJOR, major)], [_in(_MAJOR, str(major)), _greater(_MINOR, minor - 1)]]


def _capability(gpu_class: GpuClass) -> Iterator[Expression]:
    match gpu_class:
        case GpuClass.T4:
            yield _in(_MAJOR, "7")
            yield _in(_MINOR, "5")
        case GpuClass.AMPERE:
            yield _in(_MAJOR, "8")
            yield {"key": _MINOR, "operator": "Exists"}  # NotIn alone also matches nodes without the label
            yield _not_in(_MINOR, "9")
        case GpuClass.ADA:
            yield _in(_MAJOR, "8")
            yield _in(_MINOR, "9")
        case GpuClass.HOPPER:
            yield _in(_MAJOR, "9")
        case GpuClass.BLACKWELL:
            yield _in(_MAJOR, "10", "12")


def _whole_by_gfd(gpu: Gpu) -> Iterator[Expression]:
    """Matches GPUs that are not shared. All of these also match nodes without the label."""
    for resource in dict.fromkeys((_GPU, gpu.resource_name)):
        yield _not_in(f"{resource}.sharing-strategy", "time-slicing", "mps")
    if not _is_mig(gpu):
        yield _absent(f"{_GPU}.slices.gi")


def _whole_on_gke() -> Iterator[Expression]:
    yield _absent(_GKE_SHARING)
    yield _absent(_GKE_SLICE)


def _whole_by_instance_type() -> Iterator[Expression]:
    yield _not_in(_INSTANCE_TYPE, *(name for product in PRODUCTS if product.part for name in product.instance_types))


def _by_cloud(gpu: Gpu, needed_range: CapabilityRange) -> Iterator[list[Expression]]:
    """One list per family of labels. Empty: the family has no such product."""
    if _is_mig(gpu) and gpu.min_memory_gib is not None:
        return  # the table has whole GPUs only
    wanted = [product for product in PRODUCTS if _is_wanted(product, gpu, needed_range)]
    yield _by_gke(wanted, gpu)
    for domain in _AWS:
        yield _by_aws(domain, wanted)
    types = [name for product in wanted for name in product.instance_types]
    yield [_in(_INSTANCE_TYPE, *types)] if types else []


def _is_wanted(product: Product, gpu: Gpu, needed_range: CapabilityRange) -> bool:
    fits = gpu.class_ in (GpuClass.AUTO, product.gpu_class) and needed_range.holds(product.capability)
    is_large_enough = product.memory_mib >= (gpu.min_memory_gib or 0) * 1024
    return fits and is_large_enough and (gpu.shared or not product.part)


def _by_gke(wanted: Sequence[Product], gpu: Gpu) -> list[Expression]:
    accelerators = [name for product in wanted for name in product.gke]
    if not accelerators:
        return []
    expressions = [_in(_GKE, *accelerators)]
    if not gpu.shared:
        return [*expressions, *_whole_on_gke()]
    # The memory of a slice is not that of the product.
    return expressions if gpu.min_memory_gib is None else [*expressions, _absent(_GKE_SLICE)]


def _by_aws(domain: str, wanted: Sequence[Product]) -> list[Expression]:
    names = list(dict.fromkeys(product.aws for product in wanted if product.aws))
    if not names:
        return []
    # One name may stand for GPUs with different memory sizes.
    smaller = [each.aws_memory_mib for each in PRODUCTS if each.aws in names and each not in wanted]
    expressions = [_in(f"{domain}/instance-gpu-name", *names)]
    if smaller:
        expressions.append(_greater(f"{domain}/instance-gpu-memory", max(smaller)))
    return expressions


def _is_mig(gpu: Gpu) -> bool:
    return "/mig-" in gpu.resource_name


def _in(key: str, *values: str) -> Expression:
    return {"key": key, "operator": "In", "values": list(values)}


def _not_in(key: str, *values: str) -> Expression:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _greater(key: str, than: int) -> Expression:
    return {"key": key, "operator": "Gt", "values": [str(than)]}


def _absent(key: str) -> Expression:
    return {"key": key, "operator": "DoesNotExist"}
