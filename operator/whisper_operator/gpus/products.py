"""What a GPU product is, and what its memory counts as. The products themselves are in `product_table`. Pure."""

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
    """A GPU as it is sold. arm64 machines (T4G, GB200) are left out, because the images are for amd64."""

    capability: Capability
    memory_mib: int
    """As the driver reports it, which is less than advertised; for fractions, the smallest."""
    gfd: tuple[str, ...] = ()
    """Its name in `nvidia.com/gpu.product` where it is whole and not shared: then nothing is appended to the name."""
    gke: tuple[str, ...] = ()
    aws: str = ""
    aws_memory_mib: int = 0
    """As AWS labels it; for fractions, the largest."""
    instance_types: tuple[str, ...] = ()
    part: bool = False
    """A fraction of a GPU."""

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Values of `k8s.amazonaws.com/accelerator`, which administrators write for AWS' cluster autoscaler."""
        return (f"nvidia-{self.aws}", f"nvidia-tesla-{self.aws}", *self.gfd) if self.aws else ()

    @property
    def gpu_class(self) -> GpuClass | None:
        """None for a GPU that no class takes."""
        major, minor = self.capability
        if major == 8:
            return GpuClass.ADA if minor == 9 else GpuClass.AMPERE
        return {7: GpuClass.T4, 9: GpuClass.HOPPER, 10: GpuClass.BLACKWELL, 12: GpuClass.BLACKWELL}.get(
            major if self.capability >= LOWEST[GpuClass.T4] else 0
        )


MAX_MEMORY_GIB: Mapping[GpuClass, int] = {
    GpuClass.T4: 16,
    GpuClass.AMPERE: 80,  # A100 80 GB
    GpuClass.ADA: 48,  # L40S, RTX 6000 Ada
    GpuClass.HOPPER: 144,  # GH200
    GpuClass.BLACKWELL: 288,  # B300
}
"""Memory of the largest GPU of a class, as it is sold."""


def least_reported_mib(sold_gib: int) -> int:
    """What a driver reports at least for a GPU, or a MIG slice, that is sold with this much memory: 92 % of it.

    ECC and the driver take up to 7.8 %: a T4 of 16 reports 15,109 to 15,360 MiB, an A10G of 24 reports 23,028, an H100 of 80
    reports 81,559, a MIG slice of 10 reports 9,728. No GPU of the next smaller size on sale reaches 92 % (11 of 12 is 91.7 %).
    """
    return -(-sold_gib * 1024 * 92 // 100)
