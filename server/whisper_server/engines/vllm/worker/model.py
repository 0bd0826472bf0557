"""vLLM's Whisper, fed from shared memory instead of with features, and telling what it heard at the start of a text.

Runs in vLLM's engine process only; `worker` makes it known there. Sizes and weights are vLLM's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from vllm.model_executor.models.whisper import WhisperForConditionalGeneration

from whisper_server.engines.vllm.shared_audio import SharedAudioPool
from whisper_server.engines.vllm.wire import SCALE, SLOT
from whisper_server.engines.vllm.worker.audio_frontend import WindowEncoder
from whisper_server.whisper.constants import N_AUDIO_POSITIONS


class ServedWhisper(WhisperForConditionalGeneration):
    """Computes the features of a batch of windows where the encoder runs."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._audio_pool = SharedAudioPool.from_config(vllm_config.additional_config)
        self._max_windows_per_step = vllm_config.scheduler_config.max_num_batched_tokens // N_AUDIO_POSITIONS
        self._encoder: WindowEncoder | None = None
        self.prompted = self.hidden = torch.empty(0)
        """Tokens and hidden states of the last step that began texts."""

    @staticmethod
    def get_model_state_cls() -> type[Any]:
        """Asked for by the V2 model runner only, which needs a GPU's libraries."""
        from whisper_server.engines.vllm.worker.v2_sampler import WhisperModelState

        return WhisperModelState

    def forward(self, input_ids: Any, positions: Any, encoder_outputs: Any = None, **kwargs: Any) -> torch.Tensor:
        """As vLLM's; what the steps that begin texts come to is kept, for `logprobs_at`."""
        hidden: torch.Tensor = super().forward(input_ids, positions, encoder_outputs, **kwargs)
        if encoder_outputs:
            self.prompted, self.hidden = input_ids, hidden
        return hidden

    def logprobs_at(self, places: torch.Tensor) -> torch.Tensor:
        """Of the next token, before all rules, at places (in tokens) of the last step that began texts."""
        logits: torch.Tensor = self.compute_logits(self.hidden[places])
        return logits.float().log_softmax(-1)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Encoder output of windows; of features where vLLM measures the memory that the encoder takes."""
        if SLOT not in kwargs:
            return super().embed_multimodal(**kwargs)
        return self.encode(kwargs[SLOT], kwargs[SCALE])

    def encode(self, slots: Sequence[int], scales: Sequence[float]) -> list[torch.Tensor]:
        """Encoder output of the windows in some slots of the shared memory, each (1500, width)."""
        if self._encoder is None:
            self._encoder = WindowEncoder(self.model.encoder, self.config, self._audio_pool, self._max_windows_per_step)
        states: list[torch.Tensor] = self._encoder(slots, scales)
        return states
