"""vLLM's Whisper, fed with samples instead of features and choosing tokens by Whisper's rules.

Runs in vLLM's engine process only; `worker` makes it known there. Sizes and weights are vLLM's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from vllm.model_executor.models.whisper import WhisperForConditionalGeneration

from whisper_server.engines.vllm.encoder import CompiledEncoder
from whisper_server.engines.vllm.features import BatchLogMel
from whisper_server.engines.vllm.plans import SAMPLES, SCALE


class ServedWhisper(WhisperForConditionalGeneration):
    """Computes the features of a batch of windows where the encoder runs."""

    _log_mel: BatchLogMel | None = None
    _encoder: Callable[[torch.Tensor], torch.Tensor]

    @staticmethod
    def get_model_state_cls() -> type[Any]:
        """Asked for by the V2 model runner only, which needs a GPU's libraries."""
        from whisper_server.engines.vllm.v2_sampler import RulesModelState

        return RulesModelState

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Encoder output of windows; of features where vLLM measures the memory that the encoder takes."""
        if SAMPLES not in kwargs:
            return super().embed_multimodal(**kwargs)
        return self.encode(kwargs[SAMPLES], kwargs[SCALE]).unbind(dim=0)

    @torch.inference_mode()
    def encode(self, windows: Any, scales: torch.Tensor) -> torch.Tensor:
        """Encoder output, (n_windows, 1500, width)."""
        if self._log_mel is None:
            self._log_mel = BatchLogMel(self.config.num_mel_bins, scales.device)
            self._encoder = _encoder(self.model.encoder, self.config.encoder_attention_heads, scales.device)
        return self._encoder(self._log_mel(windows, scales).to(self.dtype))


def _encoder(encoder: Any, n_heads: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    if device.type == "cuda":
        return CompiledEncoder(encoder, n_heads)
    # A list of one batch: vLLM's encoder would take the windows of a batch one by one through its first layers.
    return lambda features: encoder([features])
