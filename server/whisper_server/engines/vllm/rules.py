"""Whisper's rules for choosing tokens, on whole batches: suppressed tokens, timestamps, temperature.

Follows `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` of openai/whisper's `decoding.py`; the arithmetic
is in `stretches`. Holds what the rules must remember of every request, on the device: nothing is read back from a
GPU. Knows torch, not vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.vllm.plans import MAX_FORCED, Plan, Vocabulary
from whisper_server.engines.vllm.stretches import N_COLUMNS, Step, Stretches, close, step, step_and_close

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """One token a row, and what was found on the way. Tensors stay on the device."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    """Of what was chosen; at temperature 1, after the rules. Without meaning for forced and closing tokens."""
    wants_logprobs: bool
    """Some row asks for the log-probability of every token, or for languages."""
    detecting: Rows
    """Rows that ask for languages."""
    raw_logprobs: torch.Tensor
    """All log-probabilities of those rows, before all rules."""


class Rules:
    """State of up to `n_slots` requests, and the choice of their next tokens."""

    def __init__(self, vocabulary: Vocabulary, n_slots: int, device: torch.device, *, compiles: bool = False) -> None:
        self._vocabulary = vocabulary
        self._device = device
        self._stretches = Stretches.of(vocabulary, device)
        self._generator = torch.Generator(device=device)
        self._state = torch.zeros((n_slots, N_COLUMNS + MAX_FORCED), dtype=torch.int64, device=device)
        self._sums = torch.zeros((n_slots, 2), dtype=torch.float32, device=device)
        self._temperature = torch.zeros(n_slots, dtype=torch.float32, device=device)
        self._is_first = np.zeros(n_slots, dtype=bool)
        self._detects = np.zeros(n_slots, dtype=bool)
        self._wants = np.zeros(n_slots, dtype=bool)
        self._is_hot = np.zeros(n_slots, dtype=bool)
        self._staged: dict[int, tuple[list[int], float]] = {}
        self._step_and_close = torch.compile(step_and_close) if compiles else step_and_close

    def load(self, slot: int, plan: Plan, history: Sequence[int] = ()) -> None:
        """A request takes a slot; `history` is what it has decoded before, after a pause."""
        self._is_first[slot] = not history
        self._detects[slot] = plan.detects
        self._wants[slot] = plan.logprobs or plan.detects
        self._is_hot[slot] = plan.temperature > 0
        times = [token - self._vocabulary.timestamp_begin for token in history[len(plan.forced) :]]
        is_time = [time >= 0 for time in times]
        last, before = is_time[-1:] == [True], is_time[-2:-1] in ([], [True])
        forced = [*plan.forced, *[0] * (MAX_FORCED - len(plan.forced))]
        latest = max((time for time in times if time >= 0), default=-1)
        columns = [len(plan.forced), len(history), plan.timestamps, last, before, latest, plan.max_new_tokens, 0]
        self._staged[slot] = ([int(value) for value in (*columns, *forced)], plan.temperature)

    def choose(self, logits: torch.Tensor, slots: Rows, where: torch.Tensor | None = None) -> Choice:
        """The next token of each slot, by the logits of its row. `where` are the slots on the device, if they are."""
        self._write_staged()
        first, hot = np.flatnonzero(self._is_first[slots]), np.flatnonzero(self._is_hot[slots])
        detecting = np.flatnonzero(self._detects[slots])
        where = self._rows(slots) if where is None else where.long()
        logits = logits[:, : self._vocabulary.n_tokens]
        if first.size:
            self._is_first[slots] = False
            self._hear(logits, where, self._rows(first))
        state, sums = self._state[where], self._sums[where]
        if hot.size:
            chosen = self._draw(logits, state, self._rows(hot), self._temperature[where])
            closed = close(state, sums, chosen, self._stretches)
        else:
            for tensor in (logits, state, sums):
                torch._dynamo.maybe_mark_dynamic(tensor, 0)  # noqa: SLF001 - torch has no public name for it
            chosen, closed = self._step_and_close(logits, state, sums, self._stretches)
        self._state[where], self._sums[where] = closed.state, closed.sums
        return Choice(
            tokens=closed.tokens,
            logprobs=chosen.logprobs,
            wants_logprobs=bool(self._wants[slots].any()),
            detecting=detecting,
            raw_logprobs=logits[self._rows(detecting)].float().log_softmax(-1) if detecting.size else logits[:0],
        )

    def _hear(self, logits: torch.Tensor, where: torch.Tensor, first: torch.Tensor) -> None:
        """Note the probability of "no speech" of rows at their first step, before all rules."""
        rows = logits[first].float()
        heard = (rows[:, self._vocabulary.nospeech] - rows.logsumexp(-1)).exp()
        self._sums[where[first]] = torch.stack((torch.zeros_like(heard), heard), dim=1)

    def _draw(self, logits: torch.Tensor, state: torch.Tensor, hot: torch.Tensor, temperature: torch.Tensor) -> Step:
        """A step in which rows with a temperature draw their tokens at random."""
        chosen = step(logits, state, self._stretches)
        allowed = self._stretches.allowed(logits[hot].float(), state[hot], chosen.reach[hot])
        noise = torch.empty_like(allowed).exponential_(generator=self._generator).log_()  # minus a Gumbel variable
        drawn = (allowed / temperature[hot].unsqueeze(1) - noise).argmax(-1)
        found = allowed.gather(1, drawn.unsqueeze(1)).squeeze(1) - allowed.logsumexp(-1)
        tokens, logprobs = chosen.tokens.index_copy(0, hot, drawn), chosen.logprobs.index_copy(0, hot, found)
        return Step(tokens, logprobs, chosen.reach)

    def _write_staged(self) -> None:
        if not self._staged:
            return
        rows = [[slot, *columns] for slot, (columns, _) in self._staged.items()]
        written = self._sent(torch.tensor(rows))
        heat = self._sent(torch.tensor([heat for _, heat in self._staged.values()], dtype=torch.float32))
        self._state[written[:, 0]] = written[:, 1:]
        self._temperature[written[:, 0]] = heat
        self._staged.clear()

    def _rows(self, rows: Rows) -> torch.Tensor:
        return self._sent(torch.from_numpy(rows))

    def _sent(self, values: torch.Tensor) -> torch.Tensor:
        """On the device; from pinned memory, because a copy from any other waits for all that the GPU has to do."""
        if self._device.type != "cuda":
            return values.to(self._device)
        return values.pin_memory().to(self._device, non_blocking=True)
