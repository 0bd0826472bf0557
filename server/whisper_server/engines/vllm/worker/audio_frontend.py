"""From slots of the shared memory to the encoder's hidden states: samples, log-mel features, encoder.

All of it runs on the device of the model, a batch of windows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import WhisperConfig

from whisper_server.engines.gpu.log_mel import BatchLogMel, SharedSamples
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.vllm.worker.cuda_graphs import GraphedEncoder


class WindowEncoder:
    """Encodes windows from shared memory, up to `max_windows` in one batch."""

    def __init__(
        self, encoder: torch.nn.Module, config: WhisperConfig, audio_pool: SharedAudioPool, max_windows: int
    ) -> None:
        """`encoder` is vLLM's WhisperEncoder."""
        weight = encoder.conv1.weight
        self._max_windows = max_windows
        self._dtype = weight.dtype
        self._samples = SharedSamples(audio_pool, weight.device)
        self._log_mel = BatchLogMel(config.num_mel_bins, weight.device)
        self._encode: Callable[[torch.Tensor], torch.Tensor]
        if weight.is_cuda:
            self._encode = GraphedEncoder(encoder, config.encoder_attention_heads, max_windows)
        else:
            # A list of one batch: vLLM's encoder would run its first layers on one window after the other.
            self._encode = lambda features: encoder([features])

    @torch.inference_mode()
    def __call__(self, slots: Sequence[int], scales: Sequence[float]) -> list[torch.Tensor]:
        """Hidden states of each window, (1500, width), valid until the next call."""
        states: list[torch.Tensor] = []
        for first in range(0, len(slots), self._max_windows):
            batch = slice(first, first + self._max_windows)
            features = self._log_mel(*self._samples.load(slots[batch], scales[batch]))
            encoded = self._encode(features.to(self._dtype))
            # Cloned where a second batch would overwrite the first.
            states += (encoded.clone() if len(slots) > self._max_windows else encoded).unbind(0)
        return states
