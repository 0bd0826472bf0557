"""Windows on their way from the shared memory to the device.

The memory is pinned where the driver allows it: the GPU then fetches windows itself, and nobody waits for them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import torch

from whisper_server.engines.vllm.sounds import SharedSounds
from whisper_server.engines.vllm.worker.rules import sent

logger = logging.getLogger(__name__)


class SharedWindows:
    """The shared memory, as tensors."""

    def __init__(self, sounds: SharedSounds, device: torch.device) -> None:
        self._samples = torch.from_numpy(sounds.samples)
        self._device = device
        if device.type == "cuda":
            pin(self._samples)

    def load(self, slots: Sequence[int], scales: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """16-bit samples (window, sample) and their scales, on the device."""
        samples = torch.empty((len(slots), self._samples.shape[1]), dtype=torch.int16, device=self._device)
        for row, slot in zip(samples, slots, strict=True):
            row.copy_(self._samples[slot], non_blocking=True)
        return samples, sent(torch.tensor(scales, dtype=torch.float32), self._device)


def pin(samples: torch.Tensor) -> None:
    """Let the GPU read this memory by itself; where it cannot, copies take a little longer."""
    n_bytes = samples.numel() * samples.element_size()
    result = torch.cuda.cudart().cudaHostRegister(samples.data_ptr(), n_bytes, 0)
    if int(result) != 0:
        with contextlib.suppress(RuntimeError):  # CUDA keeps the error for the next kernel: let that be this one
            torch.zeros(1, device="cuda").add_(1)
        logger.warning("The GPU's driver cannot pin the windows' memory (error %d); they are copied once more", result)
