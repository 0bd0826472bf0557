"""vLLM's Whisper with two additions: it encodes windows from shared memory, and keeps hidden states of prefills.

Sizes and weights are vLLM's own. `extension` registers this class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from vllm.model_executor.models.whisper import WhisperForConditionalGeneration

from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.vllm.wire import SCALE, SLOT
from whisper_server.engines.vllm.worker.audio_frontend import WindowEncoder
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

if TYPE_CHECKING:
    from whisper_server.engines.vllm.worker.v2_sampler import WhisperModelState


class ServedWhisper(WhisperForConditionalGeneration):
    """The model class that vLLM loads."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._audio_pool = SharedAudioPool.from_config(vllm_config.additional_config)
        self._max_windows_per_step = vllm_config.scheduler_config.max_num_batched_tokens // N_AUDIO_POSITIONS
        self._window_encoder: WindowEncoder | None = None
        self.prefill_tokens = self.prefill_hidden = torch.empty(0)
        """Input tokens and hidden states of the last step that prefilled requests."""

    @staticmethod
    def get_model_state_cls() -> type[WhisperModelState]:
        """For the V2 model runner only; it needs a GPU's libraries, so it is imported here."""
        from whisper_server.engines.vllm.worker.v2_sampler import WhisperModelState

        return WhisperModelState

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        encoder_outputs: list[torch.Tensor] | None = None,
        **kwargs: object,
    ) -> torch.Tensor:
        """VLLM's own step; keeps the hidden states of prefills for `logprobs_at`."""
        hidden: torch.Tensor = super().forward(input_ids, positions, encoder_outputs, **kwargs)
        if encoder_outputs:
            self.prefill_tokens, self.prefill_hidden = input_ids, hidden
        return hidden

    def logprobs_at(self, token_indices: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the next token, before all rules, after these tokens of the last prefill step."""
        logits: torch.Tensor = self.compute_logits(self.prefill_hidden[token_indices])
        return logits.float().log_softmax(-1)

    def embed_multimodal(self, **kwargs: Any) -> list[torch.Tensor]:
        """Hidden states of the encoder, from slots; from features where vLLM measures the encoder's memory."""
        if SLOT not in kwargs:
            measured: list[torch.Tensor] = super().embed_multimodal(**kwargs)
            return measured
        return self.encode(kwargs[SLOT], kwargs[SCALE])

    def encode(self, slots: Sequence[int], scales: Sequence[float]) -> list[torch.Tensor]:
        """Hidden states of the encoder for the windows in these slots, each (1500, width); valid until the next call."""
        if self._window_encoder is None:
            self._window_encoder = WindowEncoder(
                self.model.encoder, self.config, self._audio_pool, self._max_windows_per_step
            )
        states: list[torch.Tensor] = self._window_encoder(slots, scales)
        return states
