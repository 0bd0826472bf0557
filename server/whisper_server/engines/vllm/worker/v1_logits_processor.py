"""The sampler as a custom logits processor of vLLM's V1 model runner, which its CPU build uses.

A processor may only change logits, so it samples, and rules out all other tokens. With
`logprobs_mode="processed_logits"` vLLM then returns what remains of the row: the token's log-probability, and the side
channel, whose log-probabilities are offset so far that vLLM never samples them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from whisper_server.engines.gpu.token_rules import MINUS_INF
from whisper_server.engines.vllm.wire import SIDE_CHANNEL_OFFSET, WhisperParams, vocabulary_from_config
from whisper_server.engines.vllm.worker.sampler import Rows, SampledBatch, WhisperSampler

if TYPE_CHECKING:
    from whisper_server.engines.vllm.worker.model import ServedWhisper


class WhisperLogitsProcessor(LogitsProcessor):
    """Assigns a slot of the sampler to every request, and follows the requests as they move between rows."""

    model: ServedWhisper
    """WorkerExtension sets it before the first request."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:  # noqa: ARG002 - vLLM's signature
        self._vocabulary = vocabulary_from_config(vllm_config.additional_config)
        n_slots = vllm_config.scheduler_config.max_num_seqs
        self._sampler = WhisperSampler(self._vocabulary, n_slots + 1, device)
        self._spare_slot = n_slots
        """For rows without a request of ours: vLLM's own warm-up."""
        self._free = list(range(n_slots))
        self._slot_of_row: dict[int, int] = {}
        self._prefilled: set[int] = set()
        """Slots of requests whose prompt is in this step, including those that resume after a preemption."""

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Apply removals, then additions, then moves: the order that vLLM defines."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._remove(row)
        for row, sampling_params, _, output_tokens in batch_update.added:
            self._remove(row)
            slot = self._slot_of_row[row] = self._free.pop()
            self._prefilled.add(slot)
            self._sampler.load(slot, WhisperParams.from_extra_args(sampling_params.extra_args), output_tokens)
        for source, target, direction in batch_update.moved:
            moved = self._slot_of_row.pop(source, None)
            if direction is MoveDirectionality.SWAP:
                other = self._slot_of_row.pop(target, None)
                if other is not None:
                    self._slot_of_row[source] = other
            else:
                self._remove(target)
            if moved is not None:
                self._slot_of_row[target] = moved

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (row, token) in which only the sampled tokens and the side channel are above minus infinity."""
        n_rows = logits.shape[0]
        slots = np.array([self._slot_of_row.get(row, self._spare_slot) for row in range(n_rows)], dtype=np.int64)
        sampled = self._sampler.sample(logits, slots)
        processed = torch.full_like(logits, MINUS_INF)
        if sampled.first_rows.size:
            self._write_side_channel(processed, sampled, slots)
        tokens = sampled.tokens.clone()
        tokens[torch.from_numpy(sampled.detecting_rows)] = self._vocabulary.endoftext
        processed.scatter_(1, tokens.unsqueeze(1), sampled.logprobs.unsqueeze(1))
        self._prefilled.clear()
        return processed

    def _write_side_channel(self, processed: torch.Tensor, sampled: SampledBatch, slots: Rows) -> None:
        """Into first rows: log-probabilities after `<|startoftranscript|>`, of "no speech" or of each language."""
        prefilled_rows = [row for row, slot in enumerate(slots.tolist()) if slot in self._prefilled]
        indices = (self.model.prefill_tokens == self._vocabulary.startoftranscript).nonzero().flatten()
        logprobs = self.model.logprobs_at(indices) + SIDE_CHANNEL_OFFSET
        logprobs_of_row = dict(zip(prefilled_rows, logprobs, strict=True))
        vocabulary, languages = self._vocabulary, list(self._vocabulary.languages)
        for row in sampled.first_rows.tolist():
            if row in sampled.detecting_rows:
                processed[row, languages] = logprobs_of_row[row][languages]
            else:  # in the column of a token that is never sampled; the "no speech" token itself may be
                processed[row, vocabulary.startoftranscript] = logprobs_of_row[row][vocabulary.nospeech]

    def _remove(self, row: int) -> None:
        slot = self._slot_of_row.pop(row, None)
        if slot is not None:
            self._free.append(slot)
