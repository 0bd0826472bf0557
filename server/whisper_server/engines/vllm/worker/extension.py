"""Extends vLLM's worker: registers the model class, and answers the engine's calls.

vLLM imports this module by name (`worker_extension_cls`) before it loads a model, which is the moment at which the
model class must be registered. `model` itself is named as a string: vLLM imports it when it loads the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm import ModelRegistry

from whisper_server.engines.vllm.wire import AlignTask
from whisper_server.engines.vllm.worker.alignment import align
from whisper_server.engines.vllm.worker.v1_logits_processor import WhisperLogitsProcessor

ModelRegistry.register_model(
    "WhisperForConditionalGeneration", "whisper_server.engines.vllm.worker.model:ServedWhisper"
)


class WorkerExtension:
    """Methods that the engine calls by `collective_rpc`; vLLM mixes this class into its worker."""

    model_runner: Any

    def warm_up(self) -> None:
        """Pin the shared memory and capture the encoder's graphs; give the V1 runner's logits processor its model."""
        model = self.model_runner.get_model()
        batch = getattr(self.model_runner, "input_batch", None)
        for processor in batch.logitsprocs.all if batch is not None else ():
            if isinstance(processor, WhisperLogitsProcessor):
                processor.model = model
        model.encode([0], [1.0])

    def align_windows(self, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Align a batch of AlignTasks; one AlignResult per task. Both in their wire form."""
        results = align(self.model_runner.get_model(), [AlignTask.from_wire(task) for task in tasks])
        return [result.to_wire() for result in results]
