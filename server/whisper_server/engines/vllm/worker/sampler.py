"""Samples tokens for whole batches by Whisper's rules: suppressed tokens, timestamps, temperature.

The arithmetic is in `token_rules`. The state of every request stays on the device: nothing is read back from a GPU.
Imports torch, not vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import to_device
from whisper_server.engines.gpu.token_rules import (
    N_COLUMNS,
    Step,
    VocabularyRanges,
    advance,
    step,
    step_in_place,
)
from whisper_server.engines.vllm.wire import WhisperParams

Rows = npt.NDArray[np.int64]
StepFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, VocabularyRanges], tuple[torch.Tensor, torch.Tensor]]
"""Signature of `token_rules.step_in_place`."""


@dataclass(frozen=True)
class SampledBatch:
    """One token per row. Tensors are on the device."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    """Of the tokens; at temperature 1, after the rules."""
    first_rows: Rows
    """Rows whose token is the first of a request of ours."""
    detecting_rows: Rows
    """Those of them that detect the language."""


class WhisperSampler:
    """Holds the state of up to `n_slots` requests and samples their next tokens."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        n_slots: int,
        device: torch.device,
        *,
        step_function: StepFunction = step_in_place,
    ) -> None:
        self._vocabulary = vocabulary
        self._device = device
        self._ranges = VocabularyRanges.of(vocabulary, device)
        self._step_function = step_function
        self._generator = torch.Generator(device=device)
        # One spare row after the slots, for the padding of batches.
        self._state = torch.zeros((n_slots + 1, N_COLUMNS), dtype=torch.int64, device=device)
        self._temperature = torch.zeros(n_slots, dtype=torch.float32, device=device)
        self._is_first = np.zeros(n_slots, dtype=bool)
        self._detects_language = np.zeros(n_slots, dtype=bool)
        self._has_temperature = np.zeros(n_slots, dtype=bool)
        self._staged: dict[int, tuple[list[int], float]] = {}
        """State and temperature of new requests, by slot; written to the device before the next step."""

    def load(self, slot: int, params: WhisperParams, history: Sequence[int] = ()) -> None:
        """Give a slot to a request; `history` holds the tokens that it decoded before vLLM preempted it."""
        self._is_first[slot] = not history and params.n_task_tokens > 0
        self._detects_language[slot] = params.detects_language
        self._has_temperature[slot] = params.temperature > 0
        times = [token - self._vocabulary.timestamp_begin for token in history]
        is_time = [time >= 0 for time in times]
        last, before = is_time[-1:] == [True], is_time[-2:-1] in ([], [True])
        latest = max((time for time in times if time >= 0), default=-1)
        columns = [len(history), int(params.timestamps), int(last), int(before), latest]
        self._staged[slot] = (columns, params.temperature)

    def sample(self, logits: torch.Tensor, slots: Rows, device_slots: torch.Tensor | None = None) -> SampledBatch:
        """The next token of each slot, from logits (row, token); `device_slots`: `slots` as a tensor on the device."""
        self._write_staged()
        first = np.flatnonzero(self._is_first[slots])
        detecting = first[self._detects_language[slots[first]]]
        self._is_first[slots] = False
        device_slots = self._rows(slots) if device_slots is None else device_slots
        logits = logits[:, : self._vocabulary.n_tokens]
        if self._has_temperature[slots].any():
            tokens, logprobs = self._sample_with_temperature(logits, slots, device_slots.long())
        else:
            tokens, logprobs = self._step_function(logits, self._state, device_slots, self._ranges)
        return SampledBatch(tokens, logprobs, first, detecting)

    def _sample_with_temperature(
        self, logits: torch.Tensor, slots: Rows, device_slots: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A step in which rows with a temperature above 0 draw their tokens at random, and the others are greedy."""
        state, drawn_rows = self._state[device_slots], self._rows(np.flatnonzero(self._has_temperature[slots]))
        greedy = step(logits, state, self._ranges)
        result = self._draw(greedy, logits, state, drawn_rows, self._temperature[device_slots])
        self._state[device_slots] = advance(state, result.tokens, self._ranges)
        return result.tokens, result.logprobs

    def _draw(
        self,
        greedy: Step,
        logits: torch.Tensor,
        state: torch.Tensor,
        drawn_rows: torch.Tensor,
        temperature: torch.Tensor,
    ) -> Step:
        """`greedy`, with other tokens in the drawn rows: by the Gumbel-max trick, the argmax of noisy logits."""
        kept = self._ranges.mask(logits[drawn_rows].float(), state[drawn_rows], greedy.allowed[drawn_rows])
        noise = torch.empty_like(kept).exponential_(generator=self._generator).log_()  # minus a Gumbel variable
        drawn = (kept / temperature[drawn_rows].unsqueeze(1) - noise).argmax(-1)
        drawn_logprobs = kept.gather(1, drawn.unsqueeze(1)).squeeze(1) - kept.logsumexp(-1)
        tokens = greedy.tokens.index_copy(0, drawn_rows, drawn)
        return Step(tokens, greedy.logprobs.index_copy(0, drawn_rows, drawn_logprobs), greedy.allowed)

    def _write_staged(self) -> None:
        if not self._staged:
            return
        rows = torch.tensor([[slot, *columns] for slot, (columns, _) in self._staged.items()])
        temperatures = torch.tensor([temperature for _, temperature in self._staged.values()], dtype=torch.float32)
        rows = to_device(rows, self._device)
        self._state[rows[:, 0]] = rows[:, 1:]
        self._temperature[rows[:, 0]] = to_device(temperatures, self._device)
        self._staged.clear()

    def _rows(self, rows: Rows) -> torch.Tensor:
        return to_device(torch.from_numpy(rows), self._device)
