"""Whisper's rules for choosing tokens, on whole batches: suppressed tokens, timestamps, temperature.

Follows `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` of openai/whisper's `decoding.py`; the arithmetic
is in `token_rules`. Holds what the rules must remember of every request, on the device: nothing is read back from a
GPU. Knows torch, not vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.vllm.wire import Vocabulary, WhisperParams
from whisper_server.engines.vllm.worker.token_rules import (
    N_COLUMNS,
    Step,
    VocabularyRanges,
    advance,
    step,
    step_in_place,
)

Rows = npt.NDArray[np.int64]
StepFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, VocabularyRanges], tuple[torch.Tensor, torch.Tensor]]
"""As `token_rules.step_in_place`."""


@dataclass(frozen=True)
class SampledBatch:
    """One token a row. Tensors stay on the device."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    """Of what was chosen; at temperature 1, after the rules."""
    first_rows: Rows
    """Rows that chose the first token of a text of ours."""
    detecting_rows: Rows
    """Those of them that ask for languages."""


class WhisperSampler:
    """State of up to `n_slots` requests, and the sampled of their next tokens."""

    def __init__(
        self, vocabulary: Vocabulary, n_slots: int, device: torch.device, *, step_function: StepFunction = step_in_place
    ) -> None:
        self._vocabulary = vocabulary
        self._device = device
        self._ranges = VocabularyRanges.of(vocabulary, device)
        self._step_function = step_function
        self._generator = torch.Generator(device=device)
        # One row more than there are slots: whoever pads a batch may point there.
        self._state = torch.zeros((n_slots + 1, N_COLUMNS), dtype=torch.int64, device=device)
        self._temperature = torch.zeros(n_slots, dtype=torch.float32, device=device)
        self._is_first = np.zeros(n_slots, dtype=bool)
        self._detects_language = np.zeros(n_slots, dtype=bool)
        self._has_temperature = np.zeros(n_slots, dtype=bool)
        self._staged: dict[int, tuple[list[int], float]] = {}

    def load(self, slot: int, params: WhisperParams, history: Sequence[int] = ()) -> None:
        """A request takes a slot; `history` is what it has decoded before, after a pause."""
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
        """The next token of each slot, by the logits of its row. `device_slots`: the same slots, where the device has them already."""
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
        """A step in which rows with a temperature draw their tokens at random."""
        state, drawn_rows = self._state[device_slots], self._rows(np.flatnonzero(self._has_temperature[slots]))
        chosen = self._draw(
            step(logits, state, self._ranges), logits, state, drawn_rows, self._temperature[device_slots]
        )
        self._state[device_slots] = advance(state, chosen.tokens, self._ranges)
        return chosen.tokens, chosen.logprobs

    def _draw(
        self,
        chosen: Step,
        logits: torch.Tensor,
        state: torch.Tensor,
        drawn_rows: torch.Tensor,
        temperature: torch.Tensor,
    ) -> Step:
        allowed = self._ranges.mask(logits[drawn_rows].float(), state[drawn_rows], chosen.allowed[drawn_rows])
        noise = torch.empty_like(allowed).exponential_(generator=self._generator).log_()  # minus a Gumbel variable
        drawn = (allowed / temperature[drawn_rows].unsqueeze(1) - noise).argmax(-1)
        found = allowed.gather(1, drawn.unsqueeze(1)).squeeze(1) - allowed.logsumexp(-1)
        tokens, logprobs = (
            chosen.tokens.index_copy(0, drawn_rows, drawn),
            chosen.logprobs.index_copy(0, drawn_rows, found),
        )
        return Step(tokens, logprobs, chosen.allowed)

    def _write_staged(self) -> None:
        if not self._staged:
            return
        written = self._to_device(torch.tensor([[slot, *columns] for slot, (columns, _) in self._staged.items()]))
        temperature = self._to_device(
            torch.tensor([temperature for _, temperature in self._staged.values()], dtype=torch.float32)
        )
        self._state[written[:, 0]] = written[:, 1:]
        self._temperature[written[:, 0]] = temperature
        self._staged.clear()

    def _rows(self, rows: Rows) -> torch.Tensor:
        return self._to_device(torch.from_numpy(rows))

    def _to_device(self, values: torch.Tensor) -> torch.Tensor:
        return to_device(values, self._device)


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device; from pinned memory, because a copy from any other waits for all that the GPU has to do."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
