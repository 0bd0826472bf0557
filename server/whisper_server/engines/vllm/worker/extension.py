"""What vLLM's worker process is given beside vLLM's own code: the model, and the alignment of words.

vLLM imports this module by name (`worker_extension_cls`) before it loads a model, which is the moment at which
the model has to be made known.
"""

from __future__ import annotations

from typing import Any

from vllm import ModelRegistry

from whisper_server.engines.vllm.worker.alignment import attend
from whisper_server.engines.vllm.worker.v1_logits_processor import WhisperLogitsProcessor

ModelRegistry.register_model(
    "WhisperForConditionalGeneration", "whisper_server.engines.vllm.worker.model:ServedWhisper"
)


class AlignmentExtension:
    """Methods that the engine calls by `collective_rpc`; mixed into vLLM's worker."""

    model_runner: Any

    def warm_up(self) -> None:
        """Pin the windows' memory, record the encoder; in the V1 runner, show the processor of logits its model."""
        model = self.model_runner.get_model()
        batch = getattr(self.model_runner, "input_batch", None)
        for processor in batch.logitsprocs.all if batch is not None else ():
            if isinstance(processor, WhisperLogitsProcessor):
                processor.model = model
        model.encode([0], [1.0])

    def align_windows(self, requests: list[Any]) -> list[Any]:
        """For every window (slot, scale, heads, start sequence, tokens): attention and token probabilities."""
        answers: list[Any] = attend(self.model_runner.get_model(), requests)
        return answers
