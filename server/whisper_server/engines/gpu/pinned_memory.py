"""Copies from the CPU's memory to the GPU that wait for nothing: they need pinned (page-locked) memory.

A copy from any other memory waits for all work that the GPU has queued.
"""

from __future__ import annotations

import contextlib
import logging

import torch

logger = logging.getLogger(__name__)


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` on the device; on a GPU the copy may not have ended yet, later kernels wait for it."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def pin(samples: torch.Tensor) -> None:
    """Let the GPU read this memory itself. Where the driver refuses, copies take a little longer."""
    n_bytes = samples.numel() * samples.element_size()
    result = torch.cuda.cudart().cudaHostRegister(samples.data_ptr(), n_bytes, 0)
    if int(result) != 0:
        # CUDA keeps the error, and the next kernel raises it: run one here, so that no other has to.
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device="cuda").add_(1)
        logger.warning(
            "The GPU's driver cannot pin the shared audio memory (error %d): each window is copied once more", result
        )
