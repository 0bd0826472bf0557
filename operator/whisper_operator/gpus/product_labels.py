"""Node selector terms by labels that name a product, for nodes without the capability that GPU feature discovery reports.

A cloud labels its nodes; `nvidia.com/gpu.product` alone comes from old versions of feature discovery or from administrators.
Sharing and MIG append to that name, so only whole GPUs match it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whisper_operator.gpus.expressions import (
    ACCELERATOR,
    AWS,
    GKE,
    GKE_SHARING,
    GKE_SLICE,
    INSTANCE_TYPE,
    PRODUCT,
    Expression,
    absent,
    greater,
    is_in,
    not_in,
)
from whisper_operator.gpus.product_table import PRODUCTS
from whisper_operator.gpus.products import Product, least_reported_mib
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Gpu
from whisper_runtime.capability import CapabilityRange

SHARED_SUFFIX = "-SHARED"
NAMING_KEYS = (PRODUCT, GKE, ACCELERATOR, *(f"{domain}/instance-gpu-name" for domain in AWS))
"""Labels that name a GPU, besides the type of the machine."""


def by_product(gpu: Gpu, needed_range: CapabilityRange) -> Iterator[list[Expression]]:
    """One list per family of labels. Empty: the family has no such product."""
    if is_mig(gpu) and gpu.min_memory_gib is not None:
        return  # the table has whole GPUs only
    wanted = [product for product in PRODUCTS if is_wanted(product, gpu, needed_range)]
    yield _by_name(wanted, gpu)
    yield _by_gke(wanted, gpu)
    for domain in AWS:
        yield _by_aws(domain, wanted)
    yield _by_accelerator(wanted, gpu)
    types = [name for product in wanted for name in product.instance_types]
    yield [is_in(INSTANCE_TYPE, *types)] if types else []


def not_sold_as(products: Sequence[Product]) -> Iterator[Expression]:
    """Matches nodes without a label that names one of these."""
    for key, names in (
        (PRODUCT, [name for each in products for name in (*each.gfd, *(f"{one}{SHARED_SUFFIX}" for one in each.gfd))]),
        (GKE, [name for each in products for name in each.gke]),
        *((f"{domain}/instance-gpu-name", [each.aws for each in products if each.aws]) for domain in AWS),
        (ACCELERATOR, [name for each in products for name in each.accelerators]),
        (INSTANCE_TYPE, [name for each in products for name in each.instance_types]),
    ):
        if names:
            yield not_in(key, *dict.fromkeys(names))


def whole_by_name() -> Iterator[Expression]:
    yield not_in(PRODUCT, *(f"{name}{SHARED_SUFFIX}" for product in PRODUCTS for name in product.gfd))


def whole_on_gke() -> Iterator[Expression]:
    yield absent(GKE_SHARING)
    yield absent(GKE_SLICE)


def whole_by_instance_type() -> Iterator[Expression]:
    yield not_in(INSTANCE_TYPE, *(name for product in PRODUCTS if product.part for name in product.instance_types))


def is_mig(gpu: Gpu) -> bool:
    """Whether the resource is a slice with a name of its own."""
    return "/mig-" in gpu.resource_name


def is_wanted(product: Product, gpu: Gpu, needed_range: CapabilityRange) -> bool:
    fits = gpu.class_ in (GpuClass.AUTO, product.gpu_class) and needed_range.holds(product.capability)
    is_large_enough = product.memory_mib >= least_reported_mib(gpu.min_memory_gib or 0)
    return fits and is_large_enough and (gpu.shared or not product.part)


def named(labels: Mapping[str, str]) -> list[Product]:
    """The products of the table that a label names; several where it stands for more than one."""
    name = labels.get(PRODUCT, "").removesuffix(SHARED_SUFFIX)
    return [
        each
        for each in PRODUCTS
        if name in each.gfd
        or labels.get(GKE) in each.gke
        or labels.get(ACCELERATOR) in each.accelerators
        or labels.get(INSTANCE_TYPE) in each.instance_types
        or any(_is_named_by_aws(domain, labels, each) for domain in AWS)
    ]


def _is_named_by_aws(domain: str, labels: Mapping[str, str], product: Product) -> bool:
    memory = labels.get(f"{domain}/instance-gpu-memory", str(product.aws_memory_mib))
    return labels.get(f"{domain}/instance-gpu-name") == product.aws != "" and memory == str(product.aws_memory_mib)


def _by_name(wanted: Sequence[Product], gpu: Gpu) -> list[Expression]:
    names = [name for product in wanted for name in product.gfd]
    if gpu.shared:
        names += [f"{name}{SHARED_SUFFIX}" for name in names]
    return [is_in(PRODUCT, *names)] if names else []


def _by_gke(wanted: Sequence[Product], gpu: Gpu) -> list[Expression]:
    accelerators = [name for product in wanted for name in product.gke]
    if not accelerators:
        return []
    expressions = [is_in(GKE, *accelerators)]
    if not gpu.shared:
        return [*expressions, *whole_on_gke()]
    # The memory of a slice is not that of the product.
    return expressions if gpu.min_memory_gib is None else [*expressions, absent(GKE_SLICE)]


def _by_aws(domain: str, wanted: Sequence[Product]) -> list[Expression]:
    names = list(dict.fromkeys(product.aws for product in wanted if product.aws))
    if not names:
        return []
    # One name may stand for GPUs with different memory sizes.
    smaller = [each.aws_memory_mib for each in PRODUCTS if each.aws in names and each not in wanted]
    expressions = [is_in(f"{domain}/instance-gpu-name", *names)]
    if smaller:
        expressions.append(greater(f"{domain}/instance-gpu-memory", max(smaller)))
    return expressions


def _by_accelerator(wanted: Sequence[Product], gpu: Gpu) -> list[Expression]:
    """Names that stand for wanted GPUs only: `nvidia-tesla-a100` says nothing about its memory."""
    others = {name for each in PRODUCTS if each not in wanted and not each.part for name in each.accelerators}
    names = dict.fromkeys(name for each in wanted for name in each.accelerators if name not in others)
    if not names:
        return []
    return [is_in(ACCELERATOR, *names), *([] if gpu.shared else whole_by_instance_type())]
