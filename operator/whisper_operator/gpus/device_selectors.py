"""The devices that a spec asks for, as CEL selectors of a ResourceClaim: what node selector terms are for labels.

Attributes and capacities are those of NVIDIA's DRA driver (github.com/kubernetes-sigs/dra-driver-nvidia-gpu, `deviceinfo.go`):
`cudaComputeCapability` is a semantic version, `memory` what the driver of the GPU reports.
"""

from __future__ import annotations

from whisper_operator.gpus.node_selector_terms import check, needed_capability
from whisper_operator.gpus.products import least_reported_mib
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.spec import Engine, Gpu

DRIVER = "gpu.nvidia.com"
_CAPABILITY = f"device.attributes['{DRIVER}'].cudaComputeCapability"
_MEMORY = f"device.capacity['{DRIVER}'].memory"

CLASSES: dict[GpuClass, str] = {
    GpuClass.T4: "major() == 7 && {}.minor() == 5",
    GpuClass.AMPERE: "major() == 8 && {}.minor() != 9",
    GpuClass.ADA: "major() == 8 && {}.minor() == 9",
    GpuClass.HOPPER: "major() == 9",
    GpuClass.BLACKWELL: "major() in [10, 12]",
}
"""The classes of `node_selector_terms`, for a semantic version."""


def device_selectors(gpu: Gpu, engine: Engine) -> list[str]:
    """All of them must hold. A device of another driver has no such attributes, so its driver comes first. Raises SpecError."""
    check(gpu, engine)
    wanted = needed_capability(engine)
    asked = [f"device.driver == '{DRIVER}'"]
    if gpu.class_ in CLASSES:
        asked.append(f"{_CAPABILITY}.{CLASSES[gpu.class_].format(_CAPABILITY)}")
    elif wanted.only_major is not None:
        asked.append(f"{_CAPABILITY}.major() == {wanted.only_major}")
    else:
        major, minor = wanted.lowest
        asked.append(f"{_CAPABILITY}.compareTo(semver('{major}.{minor}.0')) >= 0")
    if gpu.min_memory_gib is not None:
        asked.append(f"{_MEMORY}.compareTo(quantity('{least_reported_mib(gpu.min_memory_gib)}Mi')) >= 0")
    return [" && ".join(asked)]
