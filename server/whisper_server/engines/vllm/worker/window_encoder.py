"""From slots of the shared memory to what the decoder listens to: samples, features, encoder.

A few windows at a time; how the encoder itself is computed is `encoder`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from whisper_server.engines.vllm.sounds import SharedSounds
from whisper_server.engines.vllm.worker.encoder import RecordedEncoder
from whisper_server.engines.vllm.worker.features import BatchLogMel
from whisper_server.engines.vllm.worker.shared_windows import SharedWindows


class WindowEncoder:
    """vLLM's encoder, fed from shared memory, for up to `n_most` windows at a time."""

    def __init__(self, encoder: Any, config: Any, sounds: SharedSounds, n_most: int) -> None:
        weight = encoder.conv1.weight
        self._n_most = n_most
        self._dtype = weight.dtype
        self._windows = SharedWindows(sounds, weight.device)
        self._log_mel = BatchLogMel(config.num_mel_bins, weight.device)
        self._encode: Callable[[torch.Tensor], torch.Tensor]
        if weight.is_cuda:
            self._encode = RecordedEncoder(encoder, config.encoder_attention_heads, n_most)
        else:
            # A list of one batch: vLLM's encoder would take windows one by one through its first layers.
            self._encode = lambda features: encoder([features])

    @torch.inference_mode()
    def __call__(self, slots: Sequence[int], scales: Sequence[float]) -> list[torch.Tensor]:
        """Hidden states of each window, (1500, width), valid until the next call."""
        states: list[torch.Tensor] = []
        for first in range(0, len(slots), self._n_most):
            some = slice(first, first + self._n_most)
            encoded = self._encode(self._log_mel(*self._windows.load(slots[some], scales[some])).to(self._dtype))
            # A second batch would write over the first.
            states += (encoded.clone() if len(slots) > self._n_most else encoded).unbind(0)
        return states
