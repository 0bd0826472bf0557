"""The GPUs that clouds and dealers sell, with the labels of their nodes in each cloud. Data only; `products` says what a row holds.

`Standard_…` are Azure's machines, `VM.GPU…` and `BM.GPU…` are shapes of Oracle's cloud.
"""

from __future__ import annotations

from whisper_operator.gpus.products import Product


def _sizes(pattern: str, sizes: str) -> tuple[str, ...]:
    return tuple(pattern.format(size) for size in sizes.split())


_G_SIZES = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
PRODUCTS: tuple[Product, ...] = (
    Product(
        capability=(3, 7),  # K80
        memory_mib=11_441,
        gfd=("Tesla-K80",),
        gke=("nvidia-tesla-k80",),
        aws="k80",
        aws_memory_mib=12_288,
        instance_types=_sizes("p2.{}", "xlarge 8xlarge 16xlarge"),
    ),
    Product(
        capability=(5, 2),  # M60
        memory_mib=7_618,
        gfd=("Tesla-M60",),
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
        gfd=("Tesla-P100-PCIE-16GB", "Tesla-P100-SXM2-16GB"),
        gke=("nvidia-tesla-p100",),
        instance_types=(*_sizes("Standard_NC{}_v2", "6s 12s 24s 24rs"), "VM.GPU2.1", "BM.GPU2.2"),
    ),
    Product(capability=(6, 1), memory_mib=7_611, gfd=("Tesla-P4",), gke=("nvidia-tesla-p4",)),
    Product(
        capability=(7, 0),  # V100
        memory_mib=16_160,
        gfd=("Tesla-V100-SXM2-16GB", "Tesla-V100-PCIE-16GB"),
        gke=("nvidia-tesla-v100",),
        aws="v100",
        aws_memory_mib=16_384,
        instance_types=(
            *_sizes("p3.{}", "2xlarge 8xlarge 16xlarge"),
            *_sizes("Standard_NC{}_v3", "6s 12s 24s 24rs"),
            *_sizes("VM.GPU3.{}", "1 2 4"),
            "BM.GPU3.8",
        ),
    ),
    Product(
        capability=(7, 0),  # V100 32 GB
        memory_mib=32_510,
        gfd=("Tesla-V100-SXM2-32GB", "Tesla-V100-PCIE-32GB", "Tesla-V100-SXM3-32GB"),
        aws="v100",
        aws_memory_mib=32_768,
        instance_types=("p3dn.24xlarge", "Standard_ND40rs_v2"),
    ),
    Product(
        capability=(7, 5),
        memory_mib=15_360,
        gfd=("Tesla-T4",),
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
        gfd=("NVIDIA-A10G", "A10G"),
        aws="a10g",
        aws_memory_mib=22_888,
        instance_types=_sizes("g5.{}", _G_SIZES),
    ),
    Product(
        capability=(8, 6),  # A10
        memory_mib=23_028,
        gfd=("NVIDIA-A10", "A10"),
        instance_types=(
            *_sizes("Standard_NV{}_A10_v5", "36ads 36adms 72ads"),
            *_sizes("VM.GPU.A10.{}", "1 2"),
            "BM.GPU.A10.4",
        ),
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
        gfd=("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB", "A100-SXM4-40GB", "A100-PCIE-40GB"),
        gke=("nvidia-tesla-a100",),
        aws="a100",
        aws_memory_mib=40_960,
        instance_types=("p4d.24xlarge", "Standard_ND96asr_v4", "BM.GPU4.8", "BM.GPU.B4.8"),
    ),
    Product(
        capability=(8, 0),
        memory_mib=81_920,
        gfd=("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe", "NVIDIA-A100-PCIE-80GB", "A100-SXM4-80GB"),
        gke=("nvidia-a100-80gb",),
        aws="a100",
        aws_memory_mib=81_920,
        instance_types=(
            "p4de.24xlarge",
            *_sizes("Standard_NC{}ads_A100_v4", "24 48 96"),
            "Standard_ND96amsr_A100_v4",
            "BM.GPU.A100-v2.8",
        ),
    ),
    Product(
        capability=(8, 9),  # L4
        memory_mib=23_034,
        gfd=("NVIDIA-L4",),
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
        gfd=("NVIDIA-L40S", "NVIDIA-L40"),
        aws="l40s",
        aws_memory_mib=45_776,
        instance_types=(
            *_sizes("g6e.{}", _G_SIZES),
            *_sizes("VM.GPU.L40S.{}", "1 2"),
            "BM.GPU.L40S.4",
            "BM.GPU.L40S-NC.4",
        ),
    ),
    Product(
        capability=(9, 0),
        memory_mib=81_559,
        gfd=("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"),
        gke=("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
        aws="h100",
        aws_memory_mib=81_920,
        instance_types=("p5.4xlarge", "p5.48xlarge", "Standard_ND96isr_H100_v5", "BM.GPU.H100.8"),
    ),
    Product(
        capability=(9, 0),  # H100 NVL
        memory_mib=95_830,
        gfd=("NVIDIA-H100-NVL",),
        instance_types=("Standard_NC40ads_H100_v5", "Standard_NC80adis_H100_v5"),
    ),
    Product(
        capability=(9, 0),
        memory_mib=143_771,
        gfd=("NVIDIA-H200", "NVIDIA-H200-NVL"),
        gke=("nvidia-h200-141gb",),
        aws="h200",
        aws_memory_mib=144_384,
        instance_types=("p5e.48xlarge", "p5en.48xlarge", "Standard_ND96isr_H200_v5", "BM.GPU.H200.8"),
    ),
    Product(
        capability=(12, 0),
        memory_mib=32_623,
        gfd=("NVIDIA-RTX-PRO-4500-Blackwell-Server-Edition",),
        aws="rtx-pro-4500",
        aws_memory_mib=32_768,
        instance_types=_sizes("g7.{}", "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    ),
    Product(
        capability=(12, 0),
        memory_mib=97_887,
        gfd=("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition"),
        gke=("nvidia-rtx-pro-6000",),
        aws="rtx-pro-server-6000",
        aws_memory_mib=98_304,
        instance_types=_sizes("g7e.{}", "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    ),
    Product(
        capability=(10, 0),
        memory_mib=183_359,
        gfd=("NVIDIA-B200",),
        gke=("nvidia-b200",),
        aws="b200",
        aws_memory_mib=183_359,
        instance_types=("p6-b200.48xlarge", "BM.GPU.B200.8"),
    ),
    Product(
        capability=(10, 3),
        memory_mib=275_040,
        gfd=("NVIDIA-B300-SXM6-AC", "NVIDIA-B300"),
        aws="b300",
        aws_memory_mib=275_040,
        instance_types=("p6-b300.48xlarge", "BM.GPU.B300.8"),
    ),
    # GPUs of own machines, by NVIDIA's table of compute capabilities. Memory is that with ECC, where it can be on.
    Product(capability=(8, 0), memory_mib=24_258, gfd=("NVIDIA-A30",)),
    Product(capability=(8, 0), memory_mib=81_920, gfd=("NVIDIA-A800-SXM4-80GB", "NVIDIA-A800-80GB-PCIe")),
    Product(capability=(8, 6), memory_mib=15_356, gfd=("NVIDIA-A2", "NVIDIA-A16")),
    Product(capability=(8, 6), memory_mib=15_352, gfd=("NVIDIA-RTX-A4000",)),
    Product(capability=(8, 6), memory_mib=23_028, gfd=("NVIDIA-RTX-A5000",)),
    Product(capability=(8, 6), memory_mib=24_564, gfd=("NVIDIA-GeForce-RTX-3090", "NVIDIA-GeForce-RTX-3090-Ti")),
    Product(capability=(8, 6), memory_mib=46_068, gfd=("NVIDIA-A40", "NVIDIA-RTX-A6000")),
    Product(capability=(8, 9), memory_mib=24_564, gfd=("NVIDIA-GeForce-RTX-4090",)),
    Product(capability=(8, 9), memory_mib=46_068, gfd=("NVIDIA-RTX-6000-Ada-Generation",)),
    Product(capability=(9, 0), memory_mib=97_871, gfd=("NVIDIA-H20",)),
    Product(capability=(12, 0), memory_mib=32_607, gfd=("NVIDIA-GeForce-RTX-5090",)),
)
