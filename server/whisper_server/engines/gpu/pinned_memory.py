"""Copies between the CPU's memory and the GPU that wait for nothing: they need pinned (page-locked) memory.

A copy from or to any other memory waits for all work that the GPU has queued.
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


class HostCopies:
    """Tensors on their way from the device to the host; they may be read once `are_there`."""

    def __init__(self, *values: torch.Tensor) -> None:
        """Later kernels may overwrite the values: the copies are of what they are now."""
        self._copied: torch.cuda.Event | None = None
        if values[0].device.type != "cuda":
            self.tensors = tuple(value.clone() for value in values)
            return
        self.tensors = tuple(torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for value in values)
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.copy_(value, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record()

    @property
    def are_there(self) -> bool:
        """Whether reading waits for nothing."""
        return self._copied is None or self._copied.query()

    def wait(self) -> tuple[torch.Tensor, ...]:
        """The tensors, once they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self.tensors


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
