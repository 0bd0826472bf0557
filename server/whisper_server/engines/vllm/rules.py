"""Whisper's rules for choosing tokens, on whole batches: suppressed tokens, timestamps, temperature.

Follows `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` of openai/whisper's `decoding.py`. What a row
may choose is one of three stretches of the vocabulary (text, special tokens, timestamps), so maxima and sums of
the stretches are taken once for all rows and put together per row: no mask of the vocabulary's size is made, and
nothing is read back from the GPU. Knows torch, not vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.vllm.plans import MAX_FORCED, Plan, Vocabulary

MAX_INITIAL_TIMESTAMP = 50
"""The first timestamp is at most that many steps of 20 ms after the window's start."""
NONE = float("-inf")
N_COLUMNS = 6
"""Of a slot's state: number of forced tokens, tokens so far, whether timestamps are asked for, whether the last token
was one, whether the one before it was (or there was none), the latest timestamp or -1; the forced tokens follow."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """One token a row, and what was found on the way. Tensors stay on the device."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    """Of the tokens; at temperature 1, after the rules; 0 for a forced one."""
    first: Rows
    """Rows at their first step."""
    no_speech: torch.Tensor
    """Log-probability of "no speech" for those rows, before all rules."""
    detecting: Rows
    """Rows that ask for languages."""
    raw_logprobs: torch.Tensor
    """All log-probabilities of those rows, before all rules."""


@dataclass
class _Reach:
    """What each row may choose: stretches of the vocabulary."""

    begins: torch.Tensor
    """At the first token that is not forced."""
    timed: torch.Tensor
    """The timestamp rules hold."""
    text: torch.Tensor
    special: torch.Tensor
    first_timestamp: torch.Tensor
    """Counted from `<|0.00|>`."""
    end_timestamp: torch.Tensor


class Rules:
    """State of up to `n_slots` requests, and the choice of their next tokens."""

    def __init__(self, vocabulary: Vocabulary, n_slots: int, device: torch.device) -> None:
        self._vocabulary = vocabulary
        self._device = device
        self._n_timestamps = vocabulary.n_tokens - vocabulary.timestamp_begin
        self._suppressed = self._ids([token for token in vocabulary.suppressed if token >= 0])
        self._suppressed_first = self._ids([token for token in vocabulary.suppressed_first if token >= 0])
        self._generator = torch.Generator(device=device)
        self._state = torch.zeros((n_slots, N_COLUMNS + MAX_FORCED), dtype=torch.int64, device=device)
        self._temperature = torch.zeros(n_slots, dtype=torch.float32, device=device)
        self._is_first = np.zeros(n_slots, dtype=bool)
        self._detects = np.zeros(n_slots, dtype=bool)
        self._is_hot = np.zeros(n_slots, dtype=bool)
        self._staged: dict[int, tuple[list[int], float]] = {}

    def load(self, slot: int, plan: Plan, history: Sequence[int] = ()) -> None:
        """A request takes a slot; `history` is what it has decoded before, after a pause."""
        self._is_first[slot] = not history
        self._detects[slot] = plan.detects
        self._is_hot[slot] = plan.temperature > 0
        times = [token - self._vocabulary.timestamp_begin for token in history[len(plan.forced) :]]
        is_time = [time >= 0 for time in times]
        last, before = is_time[-1:] == [True], is_time[-2:-1] in ([], [True])
        forced = [*plan.forced, *[0] * (MAX_FORCED - len(plan.forced))]
        latest = max((time for time in times if time >= 0), default=-1)
        columns = [len(plan.forced), len(history), plan.timestamps, last, before, latest, *forced]
        self._staged[slot] = ([int(value) for value in columns], plan.temperature)

    def choose(self, logits: torch.Tensor, slots: Rows) -> Choice:
        """The next token of each slot, by the logits of its row, which are used up."""
        self._write_staged()
        first, hot = np.flatnonzero(self._is_first[slots]), np.flatnonzero(self._is_hot[slots])
        detecting = np.flatnonzero(self._detects[slots])
        self._is_first[slots] = False
        where = self._rows(slots)
        logits = logits[:, : self._vocabulary.n_tokens].float()
        no_speech = self._no_speech(logits, first) if first.size else logits[:0, 0]
        raw_logprobs = logits[self._rows(detecting)].log_softmax(-1) if detecting.size else logits[:0]
        state = self._state[where]
        reach = self._reach(state)
        self._suppress(logits, reach)
        tokens, logprobs = self._likeliest(logits, reach)
        if hot.size:
            drawn, drawn_logprobs = self._draw(logits, reach, hot, self._temperature[where])
            tokens[self._rows(hot)], logprobs[self._rows(hot)] = drawn, drawn_logprobs
        forces = state[:, 1] < state[:, 0]
        column = (state[:, 1].clamp(max=MAX_FORCED - 1) + N_COLUMNS).unsqueeze(1)
        tokens = torch.where(forces, state.gather(1, column).squeeze(1), tokens)
        logprobs = torch.where(forces, 0.0, logprobs)
        self._state[where] = self._after(state, forces, tokens)
        return Choice(tokens, logprobs, first, no_speech, detecting, raw_logprobs)

    def _no_speech(self, logits: torch.Tensor, first: Rows) -> torch.Tensor:
        rows = logits[self._rows(first)]
        return rows[:, self._vocabulary.nospeech] - rows.logsumexp(-1)

    def _reach(self, state: torch.Tensor) -> _Reach:
        """What the timestamp rules leave of the vocabulary."""
        n_forced, step, timed, last, before, latest = state[:, :N_COLUMNS].unbind(1)
        is_timed, begins = timed > 0, step == n_forced
        opened = is_timed & (last > 0) & (before == 0)
        closed = is_timed & (last > 0) & (before > 0)
        begins_timed = is_timed & begins
        nowhere = torch.full_like(latest, self._n_timestamps)
        # The second of a pair may be the first again; anything else is later than all before it.
        first_timestamp = torch.where(closed, nowhere, torch.where(opened, latest, latest + 1))
        return _Reach(
            begins=begins,
            timed=is_timed,
            text=~(begins_timed | opened),
            special=~begins_timed,
            first_timestamp=torch.where(is_timed, first_timestamp, 0),
            end_timestamp=torch.where(begins_timed, min(MAX_INITIAL_TIMESTAMP + 1, self._n_timestamps), nowhere),
        )

    def _suppress(self, logits: torch.Tensor, reach: _Reach) -> None:
        logits.index_fill_(1, self._suppressed, NONE)
        beginnings = logits[:, self._suppressed_first].masked_fill(reach.begins.unsqueeze(1), NONE)
        logits[:, self._suppressed_first] = beginnings
        logits[:, self._vocabulary.notimestamps].masked_fill_(reach.timed, NONE)

    def _likeliest(self, logits: torch.Tensor, reach: _Reach) -> tuple[torch.Tensor, torch.Tensor]:
        """The likeliest token within reach, and its log-probability. Narrows `reach` where only a time may follow."""
        end, begin = self._vocabulary.endoftext, self._vocabulary.timestamp_begin
        text, special, times = logits[:, :end], logits[:, end:begin], logits[:, begin:]
        index = torch.arange(times.shape[1], device=self._device)
        outside = (index < reach.first_timestamp.unsqueeze(1)) | (index >= reach.end_timestamp.unsqueeze(1))
        times.masked_fill_(outside, NONE)
        (high_text, at_text), (high_special, at_special), (high_times, at_times) = (
            stretch.max(-1) for stretch in (text, special, times)
        )
        highs = torch.stack(
            (
                torch.where(reach.text, high_text, NONE),
                torch.where(reach.special, high_special, NONE),
                high_times,
            )
        )
        sums = torch.stack(
            (
                torch.where(reach.text, text.logsumexp(-1), NONE),
                torch.where(reach.special, special.logsumexp(-1), NONE),
                times.logsumexp(-1),
            )
        )
        # More likely than any single word: a time it is.
        is_time = reach.timed & (sums[2] > highs[:2].amax(0))
        reach.text = reach.text & ~is_time
        reach.special = reach.special & ~is_time
        excluded = torch.stack((is_time, is_time, torch.zeros_like(is_time)))
        highs, sums = highs.masked_fill(excluded, NONE), sums.masked_fill(excluded, NONE)
        high, stretch = highs.max(0)
        tokens = torch.stack((at_text, at_special + end, at_times + begin)).gather(0, stretch.unsqueeze(0)).squeeze(0)
        return tokens, high - sums.logsumexp(0)

    def _draw(
        self, logits: torch.Tensor, reach: _Reach, hot: Rows, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens drawn at random instead, for rows with a temperature, and their log-probabilities."""
        end, begin = self._vocabulary.endoftext, self._vocabulary.timestamp_begin
        rows = self._rows(hot)
        allowed = logits[rows]
        allowed[:, :end].masked_fill_(~reach.text[rows].unsqueeze(1), NONE)
        allowed[:, end:begin].masked_fill_(~reach.special[rows].unsqueeze(1), NONE)
        noise = torch.empty_like(allowed).exponential_(generator=self._generator).log_()  # minus a Gumbel variable
        drawn = (allowed / temperature[rows].unsqueeze(1) - noise).argmax(-1)
        return drawn, allowed.gather(1, drawn.unsqueeze(1)).squeeze(1) - allowed.logsumexp(-1)

    def _after(self, state: torch.Tensor, forces: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The state once the tokens are decoded."""
        time = tokens - self._vocabulary.timestamp_begin
        is_time = (time >= 0) & ~forces
        state[:, 1] += 1
        state[:, 4] = torch.where(state[:, 1] - state[:, 0] < 2, 1, state[:, 3])
        state[:, 3] = is_time
        state[:, 5] = torch.where(is_time, time, state[:, 5])
        return state

    def _write_staged(self) -> None:
        if not self._staged:
            return
        slots = self._ids(list(self._staged))
        self._state[slots] = torch.tensor([columns for columns, _ in self._staged.values()]).to(self._device)
        self._temperature[slots] = torch.tensor([heat for _, heat in self._staged.values()]).to(self._device)
        self._staged.clear()

    def _ids(self, values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64).to(self._device, non_blocking=True)

    def _rows(self, rows: Rows) -> torch.Tensor:
        return torch.from_numpy(rows).to(self._device, non_blocking=True)
