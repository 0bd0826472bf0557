"""Windows on their way to the GPU: gathered in pinned memory that is taken once, so that the copy waits for nobody.

vLLM takes new pinned memory for every batch, which stops the process and the GPU for longer than the encoder runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from whisper_server.mel import N_WINDOW_SAMPLES

N_BUFFERS = 2
"""One is filled while the other is being copied."""


class Staging:
    """For batches of up to `n_windows`; a larger one takes more memory from then on."""

    def __init__(self, n_windows: int, device: torch.device) -> None:
        self._device = device
        self._next = 0
        self._copied = [torch.cuda.Event() for _ in range(N_BUFFERS)]
        self._take_memory(n_windows)

    def load(self, windows: Sequence[torch.Tensor], scales: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """16-bit samples (window, sample), padded, and their scales, on the device."""
        n_windows = len(windows)
        if n_windows > len(self._samples[0]):
            torch.cuda.synchronize(self._device)
            self._take_memory(n_windows)
        number, self._next = self._next, (self._next + 1) % N_BUFFERS
        self._copied[number].synchronize()
        samples, factors = self._samples[number], self._scales[number]
        for place, window in enumerate(windows):
            samples[place, : len(window)].copy_(window)
            samples[place, len(window) :].zero_()
            factors[place] = scales[place]
        on_device = (
            samples[:n_windows].to(self._device, non_blocking=True),
            factors[:n_windows].to(self._device, non_blocking=True),
        )
        self._copied[number].record()
        return on_device

    def _take_memory(self, n_windows: int) -> None:
        self._samples = [
            torch.empty((n_windows, N_WINDOW_SAMPLES), dtype=torch.int16, pin_memory=True) for _ in range(N_BUFFERS)
        ]
        self._scales = [torch.empty(n_windows, dtype=torch.float32, pin_memory=True) for _ in range(N_BUFFERS)]
