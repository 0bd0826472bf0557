"""What vLLM's worker process is given beside vLLM's own code: the model, and the alignment of words.

vLLM imports this module by name (`worker_extension_cls`) before it loads a model, which is the moment at which
the model has to be made known.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm import ModelRegistry

from whisper_server.engines.vllm.alignment import attend
from whisper_server.mel import N_WINDOW_SAMPLES

ModelRegistry.register_model("WhisperForConditionalGeneration", "whisper_server.engines.vllm.model:ServedWhisper")


class AlignmentExtension:
    """Methods that the engine calls by `collective_rpc`; mixed into vLLM's worker."""

    model_runner: Any

    def warm_up(self, n_windows: int) -> None:
        """Compile the encoder for one window, for two and for as many as a step takes."""
        model = self.model_runner.get_model()
        device = next(model.parameters()).device
        for n in sorted({1, 2, n_windows}):
            silence = torch.zeros((n, N_WINDOW_SAMPLES), dtype=torch.int16, device=device)
            model.encode(silence, torch.ones(n, device=device))

    def align_windows(self, requests: list[Any]) -> list[Any]:
        """For every window (samples, scale, heads, start sequence, tokens): attention and token probabilities."""
        answers: list[Any] = attend(self.model_runner.get_model(), requests)
        return answers
