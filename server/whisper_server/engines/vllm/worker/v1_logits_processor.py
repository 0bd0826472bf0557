"""The rules as a custom logits processor of vLLM's V1 model runner, which its CPU build uses.

A processor may only change logits, so the sampled is made here and everything else ruled out: with
`logprobs_mode="processed_logits"` vLLM then hands back what was left of the row, the sampled's log-probability, and
what was heard at the start of a text, out of sight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from whisper_server.engines.vllm.wire import SIDE_CHANNEL_OFFSET, Vocabulary, WhisperParams
from whisper_server.engines.vllm.worker.sampler import Rows, SampledBatch, WhisperSampler
from whisper_server.engines.vllm.worker.token_rules import MINUS_INF


class WhisperLogitsProcessor(LogitsProcessor):
    """Keeps a slot of the rules for every row of the batch, whatever place it moves to."""

    model: Any = None
    """Given by `worker` before the first request."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:  # noqa: ARG002 - vLLM calls it so
        self._vocabulary = Vocabulary.from_config(vllm_config.additional_config)
        n_slots = vllm_config.scheduler_config.max_num_seqs
        self._sampler = WhisperSampler(self._vocabulary, n_slots + 1, device)
        self._nobody = n_slots
        """Slot of rows that no request of ours is in: vLLM's own warm-up."""
        self._free = list(range(n_slots))
        self._slot_of_row: dict[int, int] = {}
        self._begun: set[int] = set()
        """Slots of requests whose prompt is in this step, also such as go on after a pause."""

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests: first the removed, then the added, then the moved, as vLLM asks."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._leave(row)
        for row, params, _, output_tokens in batch_update.added:
            self._leave(row)
            slot = self._slot_of_row[row] = self._free.pop()
            self._begun.add(slot)
            self._sampler.load(slot, WhisperParams.from_extra_args(params.extra_args), output_tokens)
        for source, target, direction in batch_update.moved:
            moved = self._slot_of_row.pop(source, None)
            if direction is MoveDirectionality.SWAP:
                other = self._slot_of_row.pop(target, None)
                if other is not None:
                    self._slot_of_row[source] = other
            else:
                self._leave(target)
            if moved is not None:
                self._slot_of_row[target] = moved

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        n_rows = logits.shape[0]
        slots = np.array([self._slot_of_row.get(row, self._nobody) for row in range(n_rows)], dtype=np.int64)
        sampled = self._sampler.sample(logits, slots)
        left = torch.full_like(logits, MINUS_INF)
        if sampled.first_rows.size:
            self._show(left, sampled, slots)
        tokens = sampled.tokens.clone()
        tokens[torch.from_numpy(sampled.detecting_rows)] = self._vocabulary.endoftext
        left.scatter_(1, tokens.unsqueeze(1), sampled.logprobs.unsqueeze(1))
        self._begun.clear()
        return left

    def _show(self, left: torch.Tensor, sampled: SampledBatch, slots: Rows) -> None:
        """Leave in first rows what was heard after `<|startoftranscript|>`: "no speech", or languages."""
        begun = [row for row, slot in enumerate(slots.tolist()) if slot in self._begun]
        places = (self.model.prompted == self._vocabulary.startoftranscript).nonzero().flatten()
        heard = dict(zip(begun, self.model.logprobs_at(places) + SIDE_CHANNEL_OFFSET, strict=True))
        vocabulary, languages = self._vocabulary, list(self._vocabulary.languages)
        for row in sampled.first_rows.tolist():
            if row in sampled.detecting_rows:
                left[row, languages] = heard[row][languages]
            else:  # in the place of a token that is never chosen; "no speech" itself may be
                left[row, vocabulary.startoftranscript] = heard[row][vocabulary.nospeech]

    def _leave(self, row: int) -> None:
        slot = self._slot_of_row.pop(row, None)
        if slot is not None:
            self._free.append(slot)
