"""The GPUs that clouds sell, and the labels of their nodes in each cloud. Data only; see `node_selector_terms`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from whisper_operator.resource.choices import GpuClass
from whisper_runtime.capability import Capability

LOWEST: Mapping[GpuClass, Capability] = {
    GpuClass.T4: (7, 5),
    GpuClass.AMPERE: (8, 0),
    GpuClass.ADA: (8, 9),
    GpuClass.HOPPER: (9, 0),
    GpuClass.BLACKWELL: (10, 0),
}
"""The oldest compute capability of a class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """A GPU as clouds sell it. arm64 machines (T4G, GB200) are left out, because the images are for amd64."""

    capability: Capability
    memory_mib: int
    """As the driver reports it, which is less than advertised; for fractions, the smallest."""
    gke: tuple[str, ...] = ()
    aws: str = ""
    aws_memory_mib: int = 0
    """As AWS labels it; for fractions, the largest."""
    instance_types: tuple[str, ...] = ()
    part: bool = False
    """A fraction of a GPU."""

    @property
    def gpu_class(self) -> GpuClass | None:
        """None for a GPU that no class takes."""
        major, minor = self.capability
        if major == 8:
            return GpuClass.ADA if minor == 9 else GpuClass.AMPERE
        return {7: GpuClass.T4, 9: GpuClass.HOPPER, 10: GpuClass.BLACKWELL, 12: GpuClass.BLACKWELL}.get(
            major if self.capability >= LOWEST[GpuClass.T4] else 0
        )


MAX_MEMORY_MIB: Mapping[GpuClass, int] = {
    GpuClass.T4: 15_360,
    GpuClass.AMPERE: 81_920,  # A100 80 GB
    GpuClass.ADA: 49_140,  # RTX 6000 Ada
    GpuClass.HOPPER: 147_456,  # GH200
    GpuClass.BLACKWELL: 294_912,  # B300
}
"""Memory of the largest GPU of a class, as its driver reports it."""


def _sizes(pattern: str, sizes: str) -> tuple[str, ...]:
    return tuple(pattern.format(size) for size in sizes.split())


_G_SIZES = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
PRODUCTS: tuple[Product, ...] = (
    Product(
        capability=(3, 7),  # K80
        memory_mib=11_441,
        gke=("nvidia-tesla-k80",),
        aws="k80",
        aws_memory_mib=12_288,
        instance_types=_sizes("p2.{}", "xlarge 8xlarge 16xlarge"),
    ),
    Product(
        capability=(5, 2),  # M60
        memory_mib=7_618,
        aws="m60",
        aws_memory_mib=8_192,
        instance_types=(
            *_sizes("g3.{}", "4xlarge 8xlarge 16xlarge"),
            "g3s.xlarge",
            *_sizes("Standard_NV{}_v3", "12s 24s 48s"),
        ),
    ),
    Product(
        capability=(6, 0),  # P100
        memory_mib=16_276,
        gke=("nvidia-tesla-p100",),
        instance_types=_sizes("Standard_NC{}_v2", "6s 12s 24s 24rs"),
    ),
    Product(capability=(6, 1), memory_mib=7_611, gke=("nvidia-tesla-p4",)),
    Product(
        capability=(7, 0),  # V100
        memory_mib=16_160,
        gke=("nvidia-tesla-v100",),
        aws="v100",
        aws_memory_mib=16_384,
        instance_types=(
            *_sizes("p3.{}", "2xlarge 8xlarge 16xlarge"),
            *_sizes("Standard_NC{}_v3", "6s 12s 24s 24rs"),
        ),
    ),
    Product(
        capability=(7, 0),  # V100 32 GB
        memory_mib=32_510,
        aws="v100",
        aws_memory_mib=32_768,
        instance_types=("p3dn.24xlarge", "Standard_ND40rs_v2"),
    ),
    Product(
        capability=(7, 5),
        memory_mib=15_360,
        gke=("nvidia-tesla-t4",),
        aws="t4",
        aws_memory_mib=16_384,
        instance_types=(
            *_sizes("g4dn.{}", "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge metal"),
            *_sizes("Standard_NC{}as_T4_v3", "4 8 16 64"),
        ),
    ),
    Product(
        capability=(8, 6),  # A10G
        memory_mib=23_028,
        aws="a10g",
        aws_memory_mib=22_888,
        instance_types=_sizes("g5.{}", _G_SIZES),
    ),
    Product(
        capability=(8, 6),  # A10
        memory_mib=23_028,
        instance_types=_sizes("Standard_NV{}_A10_v5", "36ads 36adms 72ads"),
    ),
    Product(
        capability=(8, 6),  # a sixth, a third and a half of an A10
        memory_mib=4_096,
        instance_types=_sizes("Standard_NV{}ads_A10_v5", "6 12 18"),
        part=True,
    ),
    Product(
        capability=(8, 0),
        memory_mib=40_960,
        gke=("nvidia-tesla-a100",),
        aws="a100",
        aws_memory_mib=40_960,
        instance_types=("p4d.24xlarge", "Standard_ND96asr_v4"),
    ),
    Product(
        capability=(8, 0),
        memory_mib=81_920,
        gke=("nvidia-a100-80gb",),
        aws="a100",
        aws_memory_mib=81_920,
        instance_types=(
            "p4de.24xlarge",
            *_sizes("Standard_NC{}ads_A100_v4", "24 48 96"),
            "Standard_ND96amsr_A100_v4",
        ),
    ),
    Product(
        capability=(8, 9),  # L4
        memory_mib=23_034,
        gke=("nvidia-l4",),
        aws="l4",
        aws_memory_mib=22_888,
        instance_types=(*_sizes("g6.{}", _G_SIZES), *_sizes("gr6.{}", "4xlarge 8xlarge")),
    ),
    Product(
        capability=(8, 9),  # an eighth to a half of an L4
        memory_mib=2_861,
        aws="l4",
        aws_memory_mib=11_444,
        instance_types=(*_sizes("g6f.{}", "large xlarge 2xlarge 4xlarge"), "gr6f.4xlarge"),
        part=True,
    ),
    Product(
        capability=(8, 9),
        memory_mib=46_068,
        aws="l40s",
        aws_memory_mib=45_776,
        instance_types=_sizes("g6e.{}", _G_SIZES),
    ),
    Product(
        capability=(9, 0),
        memory_mib=81_559,
        gke=("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
        aws="h100",
        aws_memory_mib=81_920,
        instance_types=("p5.4xlarge", "p5.48xlarge", "Standard_ND96isr_H100_v5"),
    ),
    Product(
        capability=(9, 0),  # H100 NVL
        memory_mib=95_830,
        instance_types=("Standard_NC40ads_H100_v5", "Standard_NC80adis_H100_v5"),
    ),
    Product(
        capability=(9, 0),
        memory_mib=143_771,
        gke=("nvidia-h200-141gb",),
        aws="h200",
        aws_memory_mib=144_384,
        instance_types=("p5e.48xlarge", "p5en.48xlarge", "Standard_ND96isr_H200_v5"),
    ),
    Product(
        capability=(12, 0),
        memory_mib=32_623,
        aws="rtx-pro-4500",
        aws_memory_mib=32_768,
        instance_types=_sizes("g7.{}", "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    ),
    Product(
        capability=(12, 0),
        memory_mib=97_887,
        gke=("nvidia-rtx-pro-6000",),
        aws="rtx-pro-server-6000",
        aws_memory_mib=98_304,
        instance_types=_sizes("g7e.{}", "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    ),
    Product(
        capability=(10, 0),
        memory_mib=183_359,
        gke=("nvidia-b200",),
        aws="b200",
        aws_memory_mib=183_359,
        instance_types=("p6-b200.48xlarge",),
    ),
    Product(
        capability=(10, 3),
        memory_mib=275_040,
        aws="b300",
        aws_memory_mib=275_040,
        instance_types=("p6-b300.48xlarge",),
    ),
)
